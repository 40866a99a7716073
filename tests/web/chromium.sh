#!/bin/sh
# The tests drive the system's Chromium; this installs it where Debian's packages can be installed.
set -e
command -v chromium >/dev/null && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
    exit 0
fi
echo "The tests of the page need Chromium: install the package 'chromium' (as root: apt-get install chromium)." >&2
exit 1
