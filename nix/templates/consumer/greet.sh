#!/bin/sh
# Runs at each boot, once the agent serves; what it says is on the console.
cat /etc/motd
