#!/bin/sh
# The tests of mysql_request start a MariaDB of their own; this installs its programs where Debian's packages can be installed.
set -e
[ -x /usr/sbin/mariadbd ] && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    # The package would start a server of its own, which nobody needs.
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends mariadb-server >/dev/null
    exit 0
fi
echo "The tests of other databases need MariaDB: install the package 'mariadb-server' (as root: apt-get install mariadb-server)." >&2
exit 1
