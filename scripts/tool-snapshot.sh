#!/bin/sh
exec toolmaster snapshot "$@"
