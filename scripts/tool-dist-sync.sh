#!/bin/sh
exec toolmaster dist-sync "$@"
