/**
 * Scripts of programs.test.ts with servers: databases, web servers, ssh. Each has the loopback of its own network; $PORT is
 * free on the host as well. What runs as root gives its rights up as it would on a server.
 */
import type { Program } from './program-list.ts'

/** `await COMMAND…` comes back when the command succeeds: the server is there. What is left at the end is killed. */
const HELPERS = `
await() { until "$@" >/dev/null 2>&1; do sleep 0.05; done; }
listening() { (: <>/dev/tcp/127.0.0.1/$PORT) 2>/dev/null; }
trap 'kill $(jobs -p) 2>/dev/null' EXIT
umask 022; chmod 755 .; d=$PWD`

export const SERVER_PROGRAMS: readonly Program[] = [
  {
    name: 'PostgreSQL: pgbench over TCP, a parallel query, kill -9 and recovery',
    needs: ['/usr/lib/postgresql'],
    network: true,
    script: `${HELPERS}
      bin=$(echo /usr/lib/postgresql/*/bin); as=
      if [ $(id -u) = 0 ]; then chown nobody .; as='setpriv --reuid=nobody --regid=nogroup --clear-groups'; fi
      $as $bin/initdb -D $d/db -A trust -U pg >/dev/null; echo $?
      to="-h 127.0.0.1 -p $PORT -U pg"
      # One that finds workers of a killed one still there ends at once, and is started again.
      start() {
        while :; do
          $as $bin/postgres -D $d/db -p $PORT -h 127.0.0.1 -k $d >log 2>&1 & server=$!
          while kill -0 $server 2>/dev/null; do psql $to postgres -c 'select 1' >/dev/null 2>&1 && return; sleep 0.05; done
        done
      }
      start
      $bin/pgbench $to -i -q postgres 2>&1 | grep -c done
      $bin/pgbench $to -c 4 -j 2 -t 50 postgres 2>&1 | grep -E 'processed|failed'
      $bin/pgbench $to -n -S -M prepared -c 4 -j 2 -t 200 postgres 2>&1 | grep -E 'processed|failed'
      psql $to postgres -At -c 'select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)' \\
        -c "create table t as select g, md5(g::text) m from generate_series(1, 20000) g; create index on t (m)" \\
        -c 'set max_parallel_workers_per_gather = 2; set parallel_setup_cost = 0; set min_parallel_table_scan_size = 0; select count(*), min(m) from t' \\
        -c 'vacuum analyze t' -c checkpoint
      kill -9 $server; wait $server 2>/dev/null
      start
      psql $to postgres -At -c 'select count(*) from t; select count(*) from pgbench_history'
      kill -INT $server; wait $server; echo $?`,
  },
  {
    name: 'MariaDB: three clients at once, InnoDB and Aria, kill -9 and recovery, dump',
    needs: ['mariadbd', 'mariadb', 'mariadb-dump'],
    network: true,
    script: `${HELPERS}
      me=$(id -un); sql="mariadb --no-defaults -S $d/socket -uroot"
      mariadb-install-db --no-defaults --user=$me --datadir=$d/data --auth-root-authentication-method=normal >/dev/null 2>&1; echo $?
      start() {
        mariadbd --no-defaults --user=$me --datadir=$d/data --socket=$d/socket --port=$PORT --bind-address=127.0.0.1 >$1 2>&1 &
        server=$!; await mariadb-admin --no-defaults -S $d/socket -uroot ping
      }
      start log
      $sql -e 'create database d; create table d.t (a int primary key auto_increment, b varchar(100), key (b)) engine = innodb'
      for w in 1 2 3; do
        (for i in $(seq 50); do echo "insert into d.t (b) values ('$w-$i');"; done | $sql) & clients="$clients $!"
      done
      wait $clients
      $sql -e 'create table d.m (a int primary key, b text) engine = aria; insert into d.m select a, b from d.t; check table d.t, d.m'
      $sql -e 'start transaction; delete from d.t where a < 100; rollback; alter table d.t add c int default 5; select count(*), sum(c) from d.t'
      mariadb --no-defaults -h 127.0.0.1 -P $PORT -uroot -e 'select count(distinct b) from d.m'
      mariadb-dump --no-defaults -S $d/socket -uroot d | grep -c INSERT
      kill -9 $server; wait $server 2>/dev/null
      start log2
      $sql -e 'select count(*) from d.t; check table d.t, d.m'
      mariadb-admin --no-defaults -S $d/socket -uroot shutdown; wait $server; echo $?`,
  },
  {
    name: 'redis: append-only file, RDB in a child, scripts, expiry, kill -9 and recovery',
    needs: ['redis-server', 'redis-cli', 'redis-check-aof', 'redis-check-rdb'],
    network: true,
    script: `${HELPERS}
      cli="redis-cli -p $PORT"
      start() { redis-server --port $PORT --dir $d --appendonly yes --save '' --unixsocket $d/socket >$1 2>&1 & server=$!; await eval "$cli ping | grep -q PONG"; }
      is() { $cli info persistence | grep -q "$1"; }
      start log
      for i in $(seq 2000); do echo "set k$i v$i"; done | $cli --pipe | tail -1
      $cli eval 'local s = 0; for i = 1, 10000 do redis.call("rpush", "l", i); s = s + i end; return s' 0
      $cli bgsave; await is rdb_bgsave_in_progress:0; is last_bgsave_status:ok; echo $?
      $cli bgrewriteaof; await is aof_rewrite_in_progress:0; is aof_last_bgrewrite_status:ok; echo $?
      redis-cli -s $d/socket dbsize
      $cli set x 1 px 20; await eval "[ -z \\"\\$($cli get x)\\" ]"; $cli exists x
      $cli subscribe ch >heard & await eval "$cli pubsub numsub ch | grep -qx 1"; $cli publish ch hello; await grep hello heard; kill $!
      redis-benchmark -p $PORT -n 2000 -c 20 -t set,get -q | grep -c 'requests per second'
      kill -9 $server; wait $server 2>/dev/null
      redis-check-aof appendonlydir/*.manifest | tail -1; redis-check-rdb dump.rdb | grep -c 'looks OK'
      start log2; $cli dbsize; $cli llen l; $cli shutdown; wait $server; echo $?`,
  },
  {
    name: 'memcached: text protocol, four threads',
    needs: ['memcached'],
    network: true,
    script: `${HELPERS}
      memcached -u $(id -un) -l 127.0.0.1 -p $PORT -t 4 & server=$!; await listening
      exec 3<>/dev/tcp/127.0.0.1/$PORT
      printf 'set a 0 0 5\\r\\nhello\\r\\nget a\\r\\nset n 0 0 1\\r\\n5\\r\\nincr n 7\\r\\ndelete a\\r\\nget a\\r\\nquit\\r\\n' >&3; cat <&3
      kill $server; wait $server; echo $?`,
  },
  {
    name: 'Apache: three process models, CGI, ranges, compression, a graceful restart',
    needs: ['apache2', 'curl'],
    network: true,
    script: `${HELPERS}
      mkdir www cgi; seq 5000 > www/n.txt; head -c 5000000 /dev/zero > www/big; url=http://127.0.0.1:$PORT
      printf '#!/bin/sh\\necho Content-type: text/plain; echo; echo $REQUEST_METHOD $QUERY_STRING; cat\\n' > cgi/x.sh; chmod 755 cgi/x.sh
      for mpm in prefork worker event; do
        cgi=cgid; [ $mpm = prefork ] && cgi=cgi
        for module in mpm_$mpm authz_core alias deflate filter $cgi; do echo "LoadModule \${module}_module /usr/lib/apache2/modules/mod_$module.so"; done > conf
        cat >> conf <<END
ServerRoot $d
ServerName localhost
Listen 127.0.0.1:$PORT
PidFile $d/pid
ErrorLog $d/error
DocumentRoot $d/www
ScriptAlias /cgi/ $d/cgi/
AddOutputFilterByType DEFLATE text/plain
<Directory />
Require all granted
</Directory>
END
        [ $cgi = cgid ] && echo "ScriptSock $d/cgi.socket" >> conf
        [ $(id -u) = 0 ] && printf 'User www-data\\nGroup www-data\\n' >> conf
        # It ends its process group, which is not to be the script's.
        setsid apache2 -f $d/conf -DFOREGROUND & server=$!; await listening
        curl -s $url/n.txt | md5sum; curl -s --compressed $url/n.txt | md5sum; curl -s $url/big | md5sum; curl -s -r 100-200 $url/n.txt | md5sum
        curl -s -d body=1 "$url/cgi/x.sh?q=1"; curl -s -o /dev/null -w '%{http_code}\\n' $url/none
        for i in $(seq 20); do curl -s $url/n.txt | md5sum & pids[i]=$!; done > sums; wait \${pids[@]}; sort sums | uniq -c
        kill -USR1 $(cat pid); curl -s --retry 5 --retry-connrefused $url/n.txt | md5sum
        kill $server; wait $server; echo $?
      done`,
  },
  {
    name: 'nginx: workers, sendfile, threads, a caching proxy, unix sockets, reload',
    needs: ['nginx', 'curl'],
    network: true,
    script: `${HELPERS}
      mkdir www; seq 5000 > www/n.txt; head -c 5000000 /dev/zero > www/big; url=http://127.0.0.1:$PORT
      cat > conf <<END
worker_processes 3; pid $d/pid; error_log $d/error warn; daemon off;
events { worker_connections 256; }
http {
  access_log off; sendfile on; tcp_nopush on; aio threads; gzip on; gzip_types text/plain;
  client_body_temp_path $d/b; proxy_temp_path $d/p; fastcgi_temp_path $d/f; uwsgi_temp_path $d/u; scgi_temp_path $d/s;
  proxy_cache_path $d/cache keys_zone=z:1m;
  server {
    listen 127.0.0.1:$PORT reuseport; listen unix:$d/socket; root $d/www;
    location /proxy/ { proxy_pass http://127.0.0.1:$PORT/; proxy_cache z; proxy_cache_valid 1m; }
    location /unix/ { proxy_pass http://unix:$d/socket:/; }
  }
}
END
      nginx -c $d/conf -e $d/e & server=$!; await listening
      for page in n.txt big proxy/n.txt proxy/big unix/big unix/n.txt proxy/n.txt; do curl -s $url/$page | md5sum; done
      for i in $(seq 30); do curl -s $url/n.txt | md5sum & pids[i]=$!; done > sums; wait \${pids[@]}; sort sums | uniq -c
      nginx -c $d/conf -e $d/e -s reload; curl -s --retry 5 --retry-connrefused $url/n.txt | md5sum
      nginx -c $d/conf -e $d/e -s quit; wait $server; echo $?`,
  },
  {
    name: 'RabbitMQ: confirmed messages in a durable queue, kill -9 and recovery',
    needs: ['/usr/lib/rabbitmq', 'erl', 'erlc', 'epmd', 'python3'],
    network: true,
    files: {
      'client.erl': `
-module(client).
-export([publish/1, consume/1]).
-include_lib("amqp_client/include/amqp_client.hrl").
open([Port]) ->
  {ok, Connection} = amqp_connection:start(#amqp_params_network{host = "127.0.0.1", port = list_to_integer(atom_to_list(Port))}),
  {ok, Channel} = amqp_connection:open_channel(Connection),
  #'queue.declare_ok'{message_count = Count} = amqp_channel:call(Channel, #'queue.declare'{queue = <<"q">>, durable = true}),
  io:format("~p in the queue~n", [Count]),
  {Connection, Channel}.
publish(Args) ->
  {Connection, Channel} = open(Args),
  amqp_channel:call(Channel, #'confirm.select'{}),
  [amqp_channel:cast(Channel, #'basic.publish'{routing_key = <<"q">>},
    #amqp_msg{props = #'P_basic'{delivery_mode = 2}, payload = integer_to_binary(I)}) || I <- lists:seq(1, 1000)],
  io:format("confirmed: ~p~n", [amqp_channel:wait_for_confirms(Channel)]), amqp_connection:close(Connection), halt(0).
consume(Args) ->
  {Connection, Channel} = open(Args),
  Sum = lists:sum([begin {#'basic.get_ok'{}, #amqp_msg{payload = P}} = amqp_channel:call(Channel, #'basic.get'{queue = <<"q">>, no_ack = true}),
    binary_to_integer(P) end || _ <- lists:seq(1, 1000)]),
  io:format("sum ~p~n", [Sum]), amqp_connection:close(Connection), halt(0).
`,
    },
    script: `${HELPERS}
      free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
      lib=$(echo /usr/lib/rabbitmq/lib/rabbitmq_server-*)
      export ERL_LIBS=$lib/plugins ERL_EPMD_PORT=$(free) RABBITMQ_DIST_PORT=$(free) RABBITMQ_NODE_PORT=$PORT RABBITMQ_NODENAME=q@localhost
      export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_MNESIA_BASE=$d/data RABBITMQ_LOG_BASE=$d/log RABBITMQ_PID_FILE=$d/pid
      export RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE=$d/none RABBITMQ_ENABLED_PLUGINS_FILE=$d/plugins
      start() { $lib/sbin/rabbitmq-server >out 2>&1 & server=$!; until listening; do kill -0 $server || { cat out; exit 1; }; sleep 0.1; done; }
      erlc client.erl; epmd & epmd=$!
      start; erl -noshell -s client publish $PORT; $lib/sbin/rabbitmqctl -q list_queues name messages durable
      # What it knows of queues it writes a little later.
      $lib/sbin/rabbitmqctl -q eval 'mnesia:sync_log().'; kill -9 $(cat pid); wait $server 2>/dev/null
      start; erl -noshell -s client consume $PORT; kill $(cat pid); wait $server; echo $?; kill $epmd; wait`,
  },
  {
    name: 'sshd: commands, a terminal, sftp, a forwarded port, a shared connection',
    needs: ['/usr/sbin/sshd', 'ssh', 'sftp', 'ssh-keygen'],
    root: true,
    network: true,
    script: `${HELPERS}
      mkdir -p /run/sshd; for key in host id; do ssh-keygen -q -t ed25519 -N '' -f $key; done; cp id.pub authorized
      cat > conf <<END
Port $PORT
ListenAddress 127.0.0.1
HostKey $d/host
AuthorizedKeysFile $d/authorized
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
Subsystem sftp /usr/lib/openssh/sftp-server
END
      /usr/sbin/sshd -D -e -f conf 2>log & server=$!; await listening
      o="-i $d/id -o Port=$PORT -o StrictHostKeyChecking=no -o UserKnownHostsFile=$d/known -o LogLevel=ERROR"; to=root@127.0.0.1
      ssh $o $to 'echo hello; id -u; exit 3'; echo $?
      seq 100000 | ssh $o $to 'md5sum'
      ssh $o -tt $to 'tty | tr -d 0-9; stty -echo; echo in a terminal' </dev/null
      printf 'put conf %s/put\\nls -1 %s/put\\n' $d $d | sftp -q $o $to 2>&1 | grep -v sftp; cmp conf put; echo $?
      ssh $o -M -S $d/master -o ControlPersist=yes -fN $to; ssh -S $d/master x 'echo over one connection'
      ssh -S $d/master -O forward -L $d/forwarded:127.0.0.1:$PORT x
      python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.connect("forwarded"); print(s.recv(8))'
      ssh -S $d/master -O exit x 2>&1; kill $server; wait $server; echo $?`,
  },
  {
    name: 'rsync: a tree with links, modes and times; a daemon, deltas',
    needs: ['rsync'],
    network: true,
    script: `${HELPERS}
      mkdir -p src/a/b; for i in $(seq 100); do echo $i > src/a/$i; done; ln -s a/1 src/l; ln src/a/2 src/h; mkfifo src/p; chmod 640 src/a/3
      truncate -s 5M src/sparse; find src -exec touch -h -d '2001-02-03 04:05:06.5' {} +
      rsync -aHS --stats src/ dst/ | grep -E 'Number of (files|created|regular)|Total file size'
      rsync -aHSic --delete src/ dst/; echo new >> src/a/7; rm src/a/8; rsync -aHi --delete src/ dst/
      stat -c '%n %a %h %Y' dst/a/3 dst/a/4 dst/h; du -k dst/sparse
      printf 'port = %s\\naddress = 127.0.0.1\\nuse chroot = no\\n[m]\\npath = %s/src\\nread only = no\\n' $PORT $d > conf
      [ $(id -u) = 0 ] && printf 'uid = root\\ngid = root\\n' >> conf
      rsync --daemon --no-detach --config=conf & server=$!; await listening
      rsync -az rsync://127.0.0.1:$PORT/m/ dst2/; diff -r src/a dst2/a && echo same
      seq 100000 > big; rsync -z big rsync://127.0.0.1:$PORT/m/; sed -i 's/^5000$/x/' big
      rsync -z --no-whole-file big rsync://127.0.0.1:$PORT/m/; cmp big src/big && echo same; kill $server; wait $server; echo $?`,
  },
]
