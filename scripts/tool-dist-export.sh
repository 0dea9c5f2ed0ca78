#!/bin/sh
exec toolmaster dist-export "$@"
