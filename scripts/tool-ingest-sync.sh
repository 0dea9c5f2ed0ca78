#!/bin/sh
exec toolmaster ingest "$@"
