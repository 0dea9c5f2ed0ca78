#!/bin/sh
exec toolmaster backup "$@"
