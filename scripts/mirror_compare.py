#!/bin/sh
exec toolmaster mirror-compare "$@"
