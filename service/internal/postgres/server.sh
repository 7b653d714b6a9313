# Usage: sh server.sh <pg_ctl> <folder> Runs a PostgreSQL in the folder until standard input ends.
# It ends when the process that holds its other end exits.
trap '' INT TERM # Ctrl-C is for that process; this script only reacts to the end of its input
pg_ctl=$1 dir=$2
"$pg_ctl" initdb -s -D "$dir/data" -o '-U shop -A trust -E UTF8 --locale=C --no-sync' || exit 1
"$pg_ctl" start -s -w -D "$dir/data" -l "$dir/log" \
	-o "-k '$dir' -c listen_addresses='' -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=300 -c shared_buffers=32MB" ||
	{ cat "$dir/log"; exit 1; }
echo ready
exec >/dev/null 2>&1
read -r _
"$pg_ctl" stop -s -m immediate -D "$dir/data"
rm -rf "$dir/data" "$dir/log"
rmdir "$dir"
