#!/bin/sh
# Lays out what the images hold: root.sh PROGRAMS OUT
#
# PROGRAMS is a folder with control-plane, tenant-node and tenantctl. Used by the Dockerfile and by pack.sh, so that an image that
# was packed differs from one that was built by its programs alone. In OUT afterwards:
#   base/                        what both images begin with: tenantctl, the shared libraries of all three, the user
#   owned/                       folders that belong to the user of the images
#   control-plane, tenant-node   the daemons
set -eu
# The images' user is another one than the caller, and has to read what is made here.
umask 022

[ $# -eq 2 ] || { echo "usage: root.sh PROGRAMS OUT" >&2; exit 2; }
programs=$1
out=$2

mkdir -p "$out/base/usr/local/bin" "$out/base/etc" "$out/base/var/lib"
# Line tables would be four fifths of the images; the symbols of a backtrace stay.
for program in control-plane tenant-node; do
  strip --strip-debug -o "$out/$program" "$programs/$program"
done
strip --strip-debug -o "$out/base/usr/local/bin/tenantctl" "$programs/tenantctl"
chmod 755 "$out/control-plane" "$out/tenant-node" "$out/base/usr/local/bin/tenantctl"

# ldd fails on a program without shared libraries, which needs none.
linked=$(ldd "$programs/control-plane" "$programs/tenant-node" "$programs/tenantctl") || true
if missing=$(printf '%s\n' "$linked" | grep 'not found'); then
  printf 'root.sh: libraries are missing on this machine:\n%s\n' "$missing" >&2
  exit 1
fi
# Each library where the loader named it, the loader among them.
libraries=$(printf '%s\n' "$linked" | grep -o '/[^ :]*\.so[^ ]*' | sort -u) || true
# A C library before 2.34 loads these when it looks up a name, which ldd does not know.
for library in $libraries; do
  case $library in */libc.so.6) ;; *) continue ;; esac
  for name in libnss_files.so.2 libnss_dns.so.2 libresolv.so.2; do
    [ ! -e "${library%/*}/$name" ] || libraries="$libraries ${library%/*}/$name"
  done
done
for library in $libraries; do
  mkdir -p "$out/base${library%/*}"
  cp -L "$library" "$out/base$library"
done

echo 'tenantry:x:65532:65532:Tenantry:/var/lib/tenantry:/nonexistent' >"$out/base/etc/passwd"
echo 'tenantry:x:65532:' >"$out/base/etc/group"
# Names in /etc/hosts go before the name server's.
echo 'hosts: files dns' >"$out/base/etc/nsswitch.conf"

# A new volume takes its owner from the folder that it is mounted on. The last three are for `tenantctl certificates create`.
for folder in lib/tenantry etc/tenantry/tls \
  etc/tenantry/certificates/control-plane etc/tenantry/certificates/tenant-node etc/tenantry/certificates/operator; do
  mkdir -p "$out/owned/$folder"
done
