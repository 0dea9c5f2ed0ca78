#!/bin/sh
exec toolmaster mirror "$@"
