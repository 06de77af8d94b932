/** The scripts of programs.test.ts. What they print must not depend on pids, times or the order of directories. */

export interface Program {
  readonly name: string
  /** Commands, or paths, that must be there. */
  readonly needs: readonly string[]
  /** For bash, in an empty directory. */
  readonly script: string
  /** Files that are there before, by name. */
  readonly files?: Readonly<Record<string, string>>
  /** Runs on the host before, in the same directory. */
  readonly prepare?: string
  /** Whether it has a network of its own with a loopback, and a port in $PORT that is free on the host too. */
  readonly network?: boolean
  /** Only root can run it. */
  readonly root?: boolean
  /** Whether it also runs on files that are in the sandbox's memory. */
  readonly inMemory?: boolean
  /** Why it can't be equal yet. A program that has a reason and is equal fails the run. */
  readonly known?: string
}

export const PROGRAMS: readonly Program[] = [
  {
    name: 'bash: pipelines, substitutions, here-documents, arrays',
    needs: ['bash', 'seq', 'awk', 'sed'],
    inMemory: true,
    script: `
      seq 1 1000 | grep 7 | sed s/7/x/g | sort | uniq | wc -l
      cat <<END | tr a-z A-Z
here $(echo is) a document
END
      cat <<<"a here-string"
      diff <(seq 1 5) <(seq 2 6); echo "diff: $?"
      list=(c a b); printf '%s\\n' "\${list[@]}" | sort
      false | true | false; echo "\${PIPESTATUS[@]}"
      yes | head -100000 | md5sum
      { echo out; echo err >&2; } 2>&1 | cat
      exec 5>file; echo five >&5; exec 5>&-; cat file
      coproc cat; echo hi >&\${COPROC[1]}; read -u \${COPROC[0]} line; echo "$line"
      for i in {1..200}; do /bin/true; done; echo done`,
  },
  {
    name: 'bash: traps, signals, wait',
    needs: ['bash'],
    script: `
      trap 'echo usr1' USR1; trap 'echo exiting' EXIT
      kill -USR1 $$
      sleep 100 & pid=$!
      until read -r comm < /proc/$pid/comm && [ "$comm" = sleep ]; do :; done
      kill $pid; wait $pid; echo "status $?"
      (trap 'echo term; exit 3' TERM; kill -TERM $BASHPID; sleep 5); echo "status $?"
      (sleep 0.2; kill -USR1 $$) & wait; echo "interrupted: $(( $? > 128 ))"; wait
      for i in 1 2 3; do (exit $i) & pids+=($!); done
      for pid in "\${pids[@]}"; do wait $pid; echo "child $?"; done
      { sh -c 'kill -KILL $$'; } 2>/dev/null; echo "killed $?"
      timeout 0.3 sleep 10; echo "timeout $?"
      ulimit -n 64; ulimit -n`,
  },
  {
    name: 'bash: job control without a terminal',
    needs: ['bash'],
    script: `
      set -m
      sleep 100 & first=$!
      kill -STOP %1; sleep 0.3; jobs | sed 's/ *sleep.*//'
      bg %1 >/dev/null; sleep 0.3; jobs -r | wc -l
      kill %1; wait %1 2>/dev/null; echo "status $?"
      (sleep 0.2; exit 4) & fg %+ >/dev/null; echo "status $?"`,
  },
  {
    name: 'coreutils over 10,000 files',
    needs: ['find', 'xargs', 'md5sum', 'tar'],
    inMemory: true,
    script: `
      mkdir tree; cd tree
      for d in {0..99}; do mkdir d$d; (cd d$d; for f in {0..99}; do echo "$d $f" > f$f; done); done; cd ..
      find tree -type f | wc -l
      find tree -type f | sort | xargs cat | md5sum
      cp -a tree copy && diff -r tree copy && echo same
      find copy -name 'f*5' -delete; find copy -type f | wc -l
      du -s --inodes copy | cut -f1
      tar cf - tree | tar tf - | wc -l
      mv copy/d1 copy/moved; ls copy | sort | head -5
      ln -s tree link; ls link/ | wc -l; chmod -R go-rwx tree; stat -c %a tree/d1/f1
      ls -lR tree | awk '/^-/ {print $5}' | sort -n | uniq -c | tail -3
      touch -d '2001-02-03 04:05:06' stamp; stat -c %y stamp; date -r stamp +%s
      rm -rf tree copy; ls`,
  },
  {
    name: 'perl: processes, pipes, signals, files, sorting',
    needs: ['perl'],
    script: `perl -e '
      use strict; use warnings; use POSIX qw(:sys_wait_h); use Socket; use Fcntl qw(:flock); $| = 1;
      my %h = map { $_ => $_ ** 2 } 1..1000; my $sum = 0; $sum += $h{$_} for sort { $a <=> $b } keys %h; print "$sum\\n";
      my @pids; for my $i (1..10) { my $p = fork; if (!$p) { exit $i } push @pids, $p } my $t = 0;
      for (@pids) { waitpid $_, 0; $t += $? >> 8 } print "$t\\n";
      open my $out, "|-", "sort -r" or die; print $out "$_\\n" for 1..5; close $out;
      open my $in, "-|", "seq 1 3" or die; print "got $_" while <$in>; close $in;
      my $alarmed = 0; $SIG{ALRM} = sub { $alarmed++ }; alarm 1; select undef, undef, undef, 5; print "alarm $alarmed\\n";
      socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, PF_UNSPEC); syswrite $a, "ping"; sysread $b, my $buf, 10; print "$buf\\n";
      open my $f, "+>", "file"; flock $f, LOCK_EX; print $f "line $_\\n" for 1..1000; seek $f, 0, 0; my @l = <$f>; print scalar(@l), "\\n";
      truncate $f, 100; print -s "file", "\\n"; rename "file", "other"; print join(",", glob "*"), "\\n";
      my $s = "x" x 1e6; $s =~ s/x/yy/g; print length $s, "\\n"; print join(" ", map { sprintf "%03b", $_ } 0..7), "\\n";'`,
  },
  {
    name: 'python: threads, processes, asyncio, files, modules',
    needs: ['python3'],
    files: {
      'program.py': `
import asyncio, concurrent.futures, hashlib, json, mmap, multiprocessing, os, queue, random, select, shutil, signal, socket
import sqlite3, struct, subprocess, sys, tempfile, threading, time, zlib

def square(x):
    return x * x

def main():
    print(sum(square(i) for i in range(1000)))
    results = queue.Queue()
    threads = [threading.Thread(target=lambda i=i: results.put(i)) for i in range(50)]
    [t.start() for t in threads]; [t.join() for t in threads]
    print(sorted(results.get() for _ in threads) == list(range(50)))
    with multiprocessing.Pool(3) as pool:
        print(sum(pool.map(square, range(200))))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        print(sum(pool.map(square, range(200))))
    async def worker(i):
        await asyncio.sleep(0.01 * (i % 3)); return i
    async def gather():
        process = await asyncio.create_subprocess_exec('cat', stdin=-1, stdout=-1)
        out, _ = await process.communicate(b'through cat')
        return sum(await asyncio.gather(*(worker(i) for i in range(100)))), out
    print(asyncio.run(gather()))
    print(subprocess.run(['sh', '-c', 'echo out; echo err >&2; exit 3'], capture_output=True))
    try:
        subprocess.run(['sleep', '10'], timeout=0.2)
    except subprocess.TimeoutExpired:
        print('timed out')
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'f')
        with open(path, 'w+b') as f:
            f.write(b'x' * 10000); f.flush()
            with mmap.mmap(f.fileno(), 0) as m:
                m[5:10] = b'hello'
            f.seek(0); print(f.read(12))
        shutil.copytree(directory, 'copy'); print(os.listdir('copy'), os.stat('copy/f').st_size)
        os.symlink('f', 'copy/link'); print(os.readlink('copy/link'), sorted(e.name for e in os.scandir('copy')))
    a, b = socket.socketpair(); a.sendall(b'data'); print(b.recv(10), select.select([b], [], [], 0)[0])
    db = sqlite3.connect('db'); db.execute('create table t (a, b)')
    db.executemany('insert into t values (?, ?)', ((i, str(i)) for i in range(1000))); db.commit()
    print(db.execute('select count(*), sum(a) from t').fetchone())
    caught = []
    signal.signal(signal.SIGUSR1, lambda *_: caught.append(1)); os.kill(os.getpid(), signal.SIGUSR1); print(caught)
    r, w = os.pipe(); pid = os.fork()
    if pid == 0:
        os.write(w, b'from the child'); os._exit(5)
    print(os.read(r, 100), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    print(hashlib.sha256(zlib.compress(b'a' * 1000000)).hexdigest()[:16], json.dumps({'a': [1, 2.5, None]}))
    print(struct.pack('<IQ', 1, 2).hex(), sys.getrecursionlimit(), time.monotonic() > 0)

if __name__ == '__main__':
    main()
`,
    },
    script: 'python3 program.py',
  },
  {
    name: 'git: init, commit, branch, merge, clone, gc, fsck',
    needs: ['git'],
    script: `
      export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='2020-01-01 00:00:00 +0000' GIT_COMMITTER_DATE='2020-01-01 00:00:00 +0000'
      git config --global user.name n; git config --global user.email e@example.org; git config --global init.defaultBranch main
      git init -q repo; cd repo
      for i in $(seq 1 60); do echo "$i" > f$i; git add f$i; git commit -qm "commit $i"; done
      git checkout -qb other HEAD~20; echo other > other; git add .; git commit -qm other; git checkout -q main
      git merge -q --no-edit other; git log --oneline | head -3; git rev-parse HEAD
      git gc -q; git fsck 2>&1; git status --short; git diff --stat HEAD~5 | tail -1
      cd ..; git clone -q repo clone; cd clone; git log --oneline | wc -l; git grep -c 5 | wc -l
      echo change >> f1; git stash -q; git stash pop -q; git diff | tail -1; git archive HEAD | tar t | wc -l`,
  },
  {
    name: 'fio: Linux AIO and io_uring, verifying',
    needs: ['fio'],
    inMemory: true,
    script: `
      run() { fio --name="$1" --output-format=terse --ioengine="$1" --iodepth=8 --rw=randrw --bs=4k --size=1m \\
        --verify=crc32c --filename=data "\${@:2}" | cut -d';' -f3,5; }
      run libaio
      run io_uring
      run io_uring --fixedbufs=1 --registerfiles=1 --sqthread_poll=1`,
  },
  {
    name: 'node: files by way of io_uring',
    needs: ['node'],
    files: {
      'files.mjs': `
import { open, readFile, stat, unlink, writeFile } from 'node:fs/promises'
const names = Array.from({ length: 40 }, (_, i) => 'file' + i)
await Promise.all(names.map(name => writeFile(name, name.repeat(1000))))
const texts = await Promise.all(names.map(name => readFile(name, 'utf8')))
console.log(texts.every((text, i) => text === names[i].repeat(1000)))
const file = await open('file3', 'r+')
await file.write('changed', 2)
await file.sync()
await file.close()
console.log((await readFile('file3', 'utf8')).slice(0, 12), (await stat('file3')).size)
await Promise.all(names.map(name => unlink(name)))
console.log(await readFile('file1').catch(error => error.code))
`,
    },
    script: 'UV_USE_IO_URING=1 node files.mjs',
  },
  {
    name: 'node: workers, streams, child processes, timers, unix sockets',
    needs: ['node'],
    files: {
      'program.mjs': `
import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs'
import { mkdir, readdir, readFile, rm, watch, writeFile } from 'node:fs/promises'
import net from 'node:net'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import zlib from 'node:zlib'

const source = "const { parentPort, workerData } = require('node:worker_threads');" +
  'let s = 0; for (let i = 0; i < 1e6; i++) s += i % workerData; parentPort.postMessage(s)'
const workers = [2, 3, 5, 7].map(workerData => new Worker(source, { eval: true, workerData }))
console.log((await Promise.all(workers.map(w => once(w, 'message')))).flat())
await mkdir('d')
await Promise.all(Array.from({ length: 200 }, (_, i) => writeFile('d/f' + i, String(i).repeat(1000))))
console.log((await readdir('d')).length, (await readFile('d/f7')).length)
await pipeline(fs.createReadStream('d/f199'), zlib.createGzip(), fs.createWriteStream('z'))
console.log(zlib.gunzipSync(fs.readFileSync('z')).length)
console.log(execFileSync('sh', ['-c', 'echo $((6 * 7))']).toString().trim())
const cat = spawn('cat'); cat.stdin.end('x'.repeat(300000)); let size = 0
for await (const chunk of cat.stdout) size += chunk.length
console.log(size)
const server = net.createServer(socket => socket.pipe(socket)).listen('socket'); await once(server, 'listening')
const client = net.connect('socket'); client.end('echo'); let text = ''
for await (const chunk of client) text += chunk
console.log(text); server.close()
const start = performance.now(); await sleep(50); console.log(performance.now() - start >= 49)
const changes = watch('d'); const first = changes.next(); await sleep(20); fs.writeFileSync('d/new', ''); console.log((await first).value.filename)
console.log(createHash('sha256').update('a'.repeat(1e6)).digest('hex').slice(0, 16))
process.on('SIGUSR2', () => { console.log('usr2'); process.exit(7) }); process.kill(process.pid, 'SIGUSR2'); await sleep(5000)
`,
    },
    script: 'node program.mjs; echo $?',
  },
  {
    name: 'java: compiled and run, with threads',
    needs: ['javac', 'java'],
    files: {
      'Hello.java': `
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;

public class Hello {
  public static void main(String[] args) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(4);
    List<Future<Long>> results = new ArrayList<>();
    for (int i = 0; i < 20; i++) {
      final int n = i;
      results.add(pool.submit(() -> { long s = 0; for (int k = 0; k < 100000; k++) s += k % (n + 1); return s; }));
    }
    long total = 0;
    for (Future<Long> result : results) total += result.get();
    pool.shutdown();
    System.out.println(total);
    Path file = Files.createTempFile(Path.of("."), "x", ".txt");
    Files.write(file, Collections.nCopies(1000, "line"));
    System.out.println(Files.readAllLines(file).size());
    Process process = new ProcessBuilder("echo", "from a process").start();
    System.out.println(new String(process.getInputStream().readAllBytes()).trim() + " " + process.waitFor());
    byte[][] garbage = new byte[100][];
    for (int i = 0; i < 3000; i++) garbage[i % 100] = new byte[100000];
    try { Object none = null; none.toString(); } catch (NullPointerException e) { System.out.println("null pointer"); }
    System.out.println(Thread.getAllStackTraces().size() > 1);
  }
}
`,
    },
    script: 'javac Hello.java && java Hello',
  },
  {
    name: 'go: goroutines, timers, files, signals, faults',
    needs: ['go'],
    files: {
      'main.go': `
package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

func main() {
	var group sync.WaitGroup
	sums := make(chan int, 100)
	for i := 0; i < 100; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			s := 0
			for k := 0; k < 100000; k++ {
				s += k % (i + 1)
			}
			time.Sleep(time.Millisecond)
			sums <- s
		}()
	}
	group.Wait()
	close(sums)
	total := 0
	for s := range sums {
		total += s
	}
	fmt.Println(total)
	ticker, ticks := time.NewTicker(5*time.Millisecond), 0
	for range ticker.C {
		if ticks++; ticks == 10 {
			break
		}
	}
	fmt.Println(ticks)
	for i := 0; i < 50; i++ {
		runtime.GC()
	}
	os.WriteFile("f", make([]byte, 100000), 0o644)
	data, err := os.ReadFile("f")
	fmt.Println(len(data), err)
	_, err = os.Open("nothing")
	fmt.Println(err)
	out, err := exec.Command("sh", "-c", "echo child; exit 3").Output()
	fmt.Print(string(out), err, "\\n")
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-signals)
	defer func() { fmt.Println("recovered:", recover()) }()
	var none *int
	fmt.Println(*none)
}
`,
    },
    prepare: 'GO111MODULE=off go build -o program main.go',
    script: './program',
  },
  {
    name: 'rust: threads, channels, processes, files',
    needs: ['rustc'],
    files: {
      'main.rs': `
use std::{fs, process::Command, sync::mpsc, thread, time::Duration};
fn main() {
    let (sender, receiver) = mpsc::channel();
    for i in 0..20u64 {
        let sender = sender.clone();
        thread::spawn(move || { sender.send((0..100000u64).map(|k| k % (i + 1)).sum::<u64>()).unwrap() });
    }
    drop(sender);
    println!("{}", receiver.iter().sum::<u64>());
    fs::write("f", vec![7u8; 100000]).unwrap();
    println!("{}", fs::read("f").unwrap().iter().map(|&b| b as u64).sum::<u64>());
    println!("{:?}", fs::read("nothing").map_err(|e| e.kind()));
    println!("{:?}", Command::new("sh").args(["-c", "echo out; exit 4"]).output().unwrap());
    thread::sleep(Duration::from_millis(20));
    println!("{:?}", thread::spawn(|| if true { panic!("on purpose") }).join().is_err());
}
`,
    },
    prepare: 'rustc -O -o program main.rs',
    script: './program 2>/dev/null',
  },
  {
    name: 'sqlite3: transactions, indexes, two writers, write-ahead log',
    needs: ['sqlite3'],
    inMemory: true,
    script: `
      sqlite3 db 'create table t (a integer primary key, b text);'
      (echo 'begin;'; for i in $(seq 1 5000); do echo "insert into t values ($i, 'row $i');"; done; echo 'commit;') | sqlite3 db
      sqlite3 db 'create index i on t (b); select count(*), sum(a) from t; select a from t where b = "row 777";'
      sqlite3 db 'pragma journal_mode = wal; delete from t where a % 3 = 0;'
      for w in 1 2; do (for i in $(seq 1 30); do echo "insert into t (b) values ('$w $i');"; done | sqlite3 -cmd '.timeout 20000' db) & done; wait
      sqlite3 db 'select count(*) from t; pragma integrity_check; vacuum; select count(*) from t;'`,
  },
  {
    name: 'gcc: compile, link, run; assembler and preprocessor',
    needs: ['gcc'],
    files: {
      'a.c':
        '#include <math.h>\n#include <stdio.h>\nint main(void) { printf("%.6f\\n", sqrt(2.0)); return 3; }\n',
      'broken.c': 'int main(void) { return x; }\n',
    },
    script: `
      gcc -O2 -Wall -o a a.c -lm && ./a; echo $?
      gcc -static -o b a.c -lm && ./b; echo $?
      gcc -S -o - a.c | grep -c call; gcc -E a.c | tail -1; gcc -g -c a.c && nm a.o | grep -c main
      gcc -c broken.c 2>&1 | head -2; gcc -pipe -o c a.c -lm && ./c; objdump -d c | grep -c '<main>:'`,
  },
  {
    name: 'archives and compression: tar, gzip, xz, cpio-like trees with links',
    needs: ['tar', 'gzip', 'xz'],
    script: `
      mkdir -p t/d; seq 1 20000 > t/numbers; ln t/numbers t/hard; ln -s numbers t/soft; mkfifo t/pipe; chmod 4755 t/d
      tar czf a.tgz t; mkdir x; tar xzf a.tgz -C x; diff t/numbers x/t/numbers && readlink x/t/soft; stat -c '%h %a %F' x/t/hard x/t/d x/t/pipe
      xz -k t/numbers; xz -dc t/numbers.xz | md5sum; gzip -9 < t/numbers | gzip -dc | md5sum; split -b 10000 t/numbers part; cat part* | md5sum; ls part* | wc -l`,
  },
  {
    name: 'python: TCP and UDP over the loopback',
    needs: ['python3'],
    network: true,
    files: {
      'program.py': `
import socket, threading
server = socket.create_server(('127.0.0.1', 0))
def serve():
    for _ in range(20):
        c, _ = server.accept()
        with c:
            while data := c.recv(65536):
                c.sendall(data.upper())
thread = threading.Thread(target=serve); thread.start()
for i in range(20):
    with socket.create_connection(server.getsockname()) as c:
        c.sendall(b'x' * 10000 * i); c.shutdown(socket.SHUT_WR)
        got = b''
        while data := c.recv(65536): got += data
        print(len(got), set(got) <= set(b'X'))
thread.join()
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(('127.0.0.1', 0))
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); b.sendto(b'datagram', a.getsockname()); print(a.recv(100))
try: socket.create_connection(('127.0.0.1', 1))
except OSError as e: print(e.errno)
s6 = socket.create_server(('::1', 0), family=socket.AF_INET6); print(s6.getsockname()[0])
print(socket.gethostbyname('localhost'))
`,
    },
    script: 'python3 program.py',
  },
]
