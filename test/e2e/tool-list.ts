/** Scripts of programs.test.ts: further languages with their own runtimes, editors, debuggers, build systems. */
import type { Program } from './program-list.ts'

export const TOOL_PROGRAMS: readonly Program[] = [
  {
    name: 'ruby: threads, processes, pipes, sockets, a terminal, a ractor',
    needs: ['ruby'],
    network: true,
    files: {
      'program.rb': `
require 'socket'; require 'open3'; require 'tempfile'; require 'pty'
r, w = IO.pipe
pid = fork { r.close; w.puts 'child'; exit! 3 }
w.close; puts r.read; Process.wait pid; p $?.exitstatus
q = Queue.new; 4.times.map { Thread.new { 1000.times { |k| q << k } } }.each(&:join); p q.size
heard = Queue.new; Signal.trap('USR1') { heard << 'usr1' }; Process.kill('USR1', $$); puts heard.pop
p \`echo sh; exit 4\`, $?.exitstatus
server = TCPServer.new('127.0.0.1', 0); t = Thread.new { c = server.accept; c.puts c.gets.upcase; c.close }
c = TCPSocket.new('127.0.0.1', server.addr[1]); c.puts 'hello'; puts c.read; t.join
p Open3.capture3('cat; echo err >&2', stdin_data: 'in').take(2)
Tempfile.create('x') { |f| f.write 'z' * 10000; f.flush; p File.size(f.path), f.flock(File::LOCK_EX), File.stat(f.path).ftype }
PTY.spawn('stty size; echo pty') { |out, _in, _pid| begin; 2.times { puts out.gets }; rescue Errno::EIO; end }
p Ractor.new { 6 * 7 }.take, Fiber.new { Fiber.yield 1 }.resume
5.times { GC.start }; p 10000.times.map { |i| i.to_s * 5 }.sum(&:size)
`,
    },
    script: 'ruby -W0 program.rb',
  },
  {
    name: 'PHP: processes, sockets, shared memory; its web server',
    needs: ['php', 'curl'],
    network: true,
    files: {
      'program.php': `<?php
$p = proc_open(['sh', '-c', 'cat; exit 3'], [['pipe', 'r'], ['pipe', 'w']], $pipes); fwrite($pipes[0], 'hi'); fclose($pipes[0]);
echo stream_get_contents($pipes[1]), "\\n", proc_close($p), "\\n";
$s = stream_socket_server('tcp://127.0.0.1:0'); $c = stream_socket_client('tcp://' . stream_socket_get_name($s, false));
$a = stream_socket_accept($s); fwrite($c, "data\\n"); echo fgets($a);
$pid = pcntl_fork(); if (!$pid) exit(7); pcntl_waitpid($pid, $status); echo pcntl_wexitstatus($status), "\\n";
$m = shm_attach(1234, 1000); shm_put_var($m, 1, ['x' => 1]); print_r(shm_get_var($m, 1)); shm_remove($m);
file_put_contents('f', str_repeat('y', 50000)); echo md5_file('f'), "\\n"; var_dump(flock(fopen('f', 'r+'), LOCK_EX));
`,
      'index.php': '<?php echo strtoupper($_GET["a"]), "\\n";',
    },
    script: `
      php program.php
      php -S 127.0.0.1:$PORT >/dev/null 2>&1 & until curl -s "http://127.0.0.1:$PORT/?a=served"; do sleep 0.05; done; kill $!; wait $!; echo $?`,
  },
  {
    name: 'Lua: pipes, files, coroutines',
    needs: ['lua5.4'],
    inMemory: true,
    files: {
      'program.lua': `
local h = io.popen('seq 3'); print(h:read('a')); print(h:close()); print(os.execute('exit 5'))
local f = io.tmpfile(); f:write('abc'); f:seek('set'); print(f:read('a'))
local t = {}; for i = 1, 100000 do t[i] = i * i end; print(#t, pcall(error, 'x'))
print(os.remove('nothing')); local co = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end); print(co(), co(), co())
`,
    },
    script: 'cat > copy.lua < program.lua; lua5.4 copy.lua',
  },
  {
    name: 'Erlang: 2,000 processes, TCP and UDP, ports; two nodes that find each other',
    needs: ['erl', 'erlc', 'epmd'],
    network: true,
    files: {
      't.erl': `
-module(t).
-export([main/0, add/1]).
add(To) -> receive N -> To ! N + 1 end.
main() ->
  Pids = [spawn(t, add, [self()]) || _ <- lists:seq(1, 2000)], [P ! 1 || P <- Pids],
  io:format("~p~n", [lists:sum([receive N -> N end || _ <- Pids])]),
  {ok, L} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127,0,0,1}}]), {ok, Port} = inet:port(L),
  spawn(fun() -> {ok, C} = gen_tcp:connect("127.0.0.1", Port, [binary]), gen_tcp:send(C, binary:copy(<<"x">>, 1000000)), gen_tcp:close(C) end),
  {ok, A} = gen_tcp:accept(L),
  Count = fun Count(T) -> case gen_tcp:recv(A, 0) of {ok, B} -> Count(T + size(B)); {error, closed} -> T end end, io:format("~p~n", [Count(0)]),
  {ok, U} = gen_udp:open(0, [binary, {active, false}]), {ok, UP} = inet:port(U), gen_udp:send(U, {127,0,0,1}, UP, <<"datagram">>),
  {ok, {_, _, D}} = gen_udp:recv(U, 0), io:format("~p~n~s", [D, os:cmd("echo from sh; seq 3")]),
  Cat = open_port({spawn, "cat"}, [binary]), port_command(Cat, <<"port">>), receive {Cat, {data, Data}} -> io:format("~p~n", [Data]) end,
  T = ets:new(x, [public]), [ets:insert(T, {I, I * I}) || I <- lists:seq(1, 10000)], io:format("~p~n", [ets:lookup(T, 77)]).
`,
    },
    script: `
      export ERL_EPMD_PORT=$PORT; erlc t.erl && erl -noshell -s t main -s init stop; echo $?
      epmd & epmd=$!; until epmd -names >/dev/null 2>&1; do sleep 0.05; done
      erl -noshell -name a@127.0.0.1 -setcookie c -eval 'register(m, self()), receive {P, hi} -> P ! hello end, receive stop -> init:stop() end.' & node=$!
      until epmd -names | grep -q 'name a '; do sleep 0.05; done
      erl -noshell -name b@127.0.0.1 -setcookie c -eval 'Node = list_to_atom("a@127.0.0.1"),
        Ping = fun Ping() -> case net_adm:ping(Node) of pong -> pong; pang -> timer:sleep(50), Ping() end end, io:format("~p~n", [Ping()]),
        {m, Node} ! {self(), hi}, receive R -> io:format("~p~n", [R]) end, {m, Node} ! stop, init:stop().'
      wait $node; kill $epmd; wait`,
  },
  {
    name: 'OpenJDK tools: jar, javap, jshell; jcmd, jstack and jmap look into a running JVM',
    needs: ['javac', 'jar', 'javap', 'jshell', 'jcmd', 'jstack', 'jmap'],
    network: true,
    files: {
      'A.java': `
import java.net.*; import java.net.http.*; import java.nio.*; import java.nio.channels.*; import java.nio.file.*;
public class A { public static void main(String[] args) throws Exception {
  if (args.length > 0) { System.out.println("here"); Thread.sleep(600000); }
  var server = ServerSocketChannel.open().bind(new InetSocketAddress("127.0.0.1", 0)); var selector = Selector.open();
  server.configureBlocking(false); server.register(selector, SelectionKey.OP_ACCEPT);
  var client = new Thread(() -> { try (var c = new Socket("127.0.0.1", server.socket().getLocalPort())) {
    c.getOutputStream().write("nio".getBytes()); System.out.println(new String(c.getInputStream().readNBytes(3))); } catch (Exception e) { System.out.println(e); } }); client.start();
  selector.select(); var c = server.accept(); var b = ByteBuffer.allocate(3); while (b.hasRemaining()) c.read(b); b.flip(); c.write(b); c.close(); client.join();
  var file = FileChannel.open(Path.of("f"), StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
  var map = file.map(FileChannel.MapMode.READ_WRITE, 0, 8192); map.putInt(100, 77); map.force(); System.out.println(file.lock() != null); System.out.println(Files.size(Path.of("f")));
  var watch = FileSystems.getDefault().newWatchService(); Path.of(".").register(watch, StandardWatchEventKinds.ENTRY_CREATE);
  Files.writeString(Path.of("watched"), "x"); System.out.println(watch.take().pollEvents().get(0).context());
  var p = new ProcessBuilder("sh", "-c", "cat; exit 3").start(); p.getOutputStream().write("piped".getBytes()); p.getOutputStream().close();
  System.out.println(new String(p.getInputStream().readAllBytes()) + p.waitFor());
  var http = com.sun.net.httpserver.HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
  http.createContext("/", e -> { e.sendResponseHeaders(200, 2); e.getResponseBody().write("ok".getBytes()); e.close(); }); http.start();
  var request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + http.getAddress().getPort() + "/")).build();
  System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body()); http.stop(0);
  Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook")));
} }
`,
    },
    script: `
      javac -d c A.java && jar cfe a.jar A -C c . && jar tf a.jar && java -jar a.jar; echo $?; javap -cp c -p A | grep main
      printf 'int f(int x) { return x * 2; }\\nSystem.out.println(f(21));\\n/exit\\n' | jshell -s - 2>/dev/null
      java -cp c A wait > out & until grep -q here out; do sleep 0.05; done
      jcmd $! VM.version | tail -1; jcmd $! Thread.print | grep -c '"main"'; jstack $! | grep -A1 '"main"' | grep -o TIMED_WAITING; jmap -histo $! | grep -c ' java.lang.String$'
      kill $!; wait $!; echo $?`,
  },
  {
    name: 'cmake and ctest; cargo with a dependency, tests',
    needs: ['cmake', 'g++', 'make', 'cargo'],
    files: {
      'CMakeLists.txt': `
cmake_minimum_required(VERSION 3.10)
project(p C CXX)
find_package(Threads REQUIRED)
add_library(l SHARED l.c)
add_executable(e e.cc)
target_link_libraries(e l Threads::Threads)
enable_testing()
add_test(NAME t COMMAND e)
install(TARGETS e l)
`,
      'l.c': 'int l(void) { return 41; }\n',
      'e.cc': `
#include <cstdio>
#include <thread>
extern "C" int l(void);
int main() { int r; std::thread t([&] { r = l() + 1; }); t.join(); std::printf("%d\\n", r); try { throw 5; } catch (int x) { return x - 5; } }
`,
    },
    script: `
      cmake -S . -B b | grep -v -E '[(][0-9.]+s[)]' && cmake --build b -j2 | sort && (cd b && ctest | grep -o -E '[0-9]+% tests passed.*'); DESTDIR=$PWD/i cmake --install b | tail -1; b/e
      cargo init -q --vcs none --name r r 2>&1 | grep -v -i creating; cd r; mkdir -p dep/src; printf '[package]\\nname = "dep"\\nversion = "0.1.0"\\nedition = "2021"\\n' > dep/Cargo.toml
      echo 'pub fn f() -> u32 { 42 }' > dep/src/lib.rs; echo 'dep = { path = "dep" }' >> Cargo.toml
      printf 'fn main() { println!("{}", dep::f()) }\\n#[test]\\nfn t() { assert_eq!(dep::f(), 42) }\\n' > src/main.rs
      cargo -q run --offline; cargo -q test --offline | sed 's/finished in.*//'; echo 'pub fn f() -> u32 { 43 }' > dep/src/lib.rs; cargo -q run --offline`,
  },
  {
    name: 'emacs -batch: files, locks, processes, a server, byte code',
    needs: ['emacs'],
    network: true,
    files: {
      'program.el': `
(find-file "a.txt") (insert "hello\\nworld\\n") (save-buffer) (goto-char (point-min))
(while (search-forward "o" nil t) (replace-match "0")) (save-buffer) (princ (buffer-string)) (insert "x") (princ (file-locked-p "a.txt"))
(princ (shell-command-to-string "echo from the shell")) (princ (call-process "sh" nil nil nil "-c" "exit 5"))
(let ((p (start-process "cat" (get-buffer-create "o") "cat")) (end nil))
  (set-process-sentinel p (lambda (_p what) (setq end what)))
  (process-send-string p "to cat\\n") (process-send-eof p)
  (while (not end) (accept-process-output p 0.1)) (princ (with-current-buffer "o" (buffer-string))) (princ end))
(make-directory "d/e" t) (princ (directory-files-recursively "d" "" t))
(let* ((got nil)
       (s (make-network-process :name "s" :server t :host "127.0.0.1" :service t :filter (lambda (p d) (process-send-string p (upcase d)))))
       (c (open-network-stream "c" nil "127.0.0.1" (process-contact s :service))))
  (set-process-filter c (lambda (_p d) (setq got d))) (process-send-string c "net")
  (while (not got) (accept-process-output nil 0.1)) (princ got))
`,
      'f.el': ';;; -*- lexical-binding: t -*-\n(defun f (x) (* x 2))\n(message "%d" (f 21))\n',
    },
    script:
      'emacs -Q -batch -l program.el; cat a.txt; emacs -Q -batch -f batch-byte-compile f.el && emacs -Q -batch -l f.elc',
  },
  {
    name: 'vim: editing in Ex mode, a filter, a swap file, an undo file; tmux: panes, keys, a hook',
    needs: ['vim', 'tmux'],
    script: `
      seq 100 > f; vim -u NONE -es -c 'set undofile' -c '%s/7/x/' -c '1,10!tac' -c '$put =system(\\"echo from sh\\")' -c 'wq' f; md5sum f
      vim -u NONE -es -c 'rundo .f.un~' -c 'undo' -c 'wq' f; ls -A | sort
      t="tmux -f /dev/null -S $PWD/socket"; $t new-session -d -x 80 -y 24 -s s 'sh'; $t split-window -h -t s 'cat > typed'
      $t send-keys -t s:0.1 'some keys' Enter C-d; until [ -s typed ]; do sleep 0.05; done; cat typed
      $t send-keys -t s:0.0 'echo $((6 * 7)) > answer; stty size > size' Enter; until [ -s size ]; do sleep 0.05; done; cat answer
      $t list-sessions -F '#{session_name} #{session_windows}'; $t kill-server; echo $?`,
  },
  {
    name: 'valgrind: memcheck and helgrind find what is wrong; children too',
    needs: ['valgrind', 'gcc'],
    files: {
      'a.c': `
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static int shared;
static void *f(void *x) { shared++; char *p = malloc(10); p[10] = 1; return p; }
static void h(int s) { (void)s; write(1, "signal\\n", 7); }
int main(void)
{
  signal(SIGUSR1, h); raise(SIGUSR1);
  char *p = malloc(20); if (p[3]) write(1, "x\\n", 2);
  strcpy(p, "leak"); p = 0;
  pthread_t t[2]; void *r; for (int i = 0; i < 2; i++) pthread_create(t + i, 0, f, 0);
  for (int i = 0; i < 2; i++) { pthread_join(t[i], &r); free(r); }
  if (!fork()) { write(1, "child\\n", 6); _exit(3); }
  int status; wait(&status); return WEXITSTATUS(status);
}
`,
    },
    prepare: 'gcc -w -g -O0 -pthread a.c -o a',
    script: `
      valgrind --leak-check=full ./a 2>&1 | grep -o -E 'signal|child|Invalid write of size 1|Conditional jump.*|definitely lost: [^,]*|ERROR SUMMARY:.*' | sort
      valgrind --tool=helgrind ./a 2>&1 | grep -o -E 'global var "shared"|signal|child' | sort | uniq -c
      valgrind -q --trace-children=yes sh -c 'ls / > /dev/null; true | cat'; echo $?`,
  },
  {
    name: 'ffmpeg: x264 and AAC, scaling, segments, pipes',
    needs: ['ffmpeg', 'ffprobe'],
    script: `
      f="ffmpeg -nostdin -v error -y"
      $f -f lavfi -i testsrc2=size=320x240:rate=25:duration=2 -f lavfi -i sine=frequency=440:duration=2 -c:v libx264 -preset veryfast \\
        -g 25 -threads 2 -pix_fmt yuv420p -c:a aac -shortest a.mkv; echo $?
      ffprobe -v error -show_entries stream=codec_name,width,height -of csv=p=0 a.mkv
      $f -i a.mkv -vf scale=160:120,hflip -an -f framemd5 - | grep -v '^#' | md5sum
      $f -i a.mkv -c copy -f segment -segment_time 1 part%d.mkv; ls part*
      cat a.mkv | $f -i pipe:0 -ac 1 -ar 8000 -f wav pipe:1 | md5sum
      $f -ss 1 -i a.mkv -frames:v 1 frame.png; md5sum < frame.png`,
  },
  {
    name: 'ImageMagick: resizing, rotation, blur, montage, pixels on disk',
    needs: ['convert', 'identify', 'montage', 'compare', 'mogrify'],
    script: `
      convert -size 400x300 gradient:red-blue a.png; identify -format '%m %wx%h %[colorspace]\\n' a.png
      convert a.png -resize 50% -rotate 30 -blur 0x3 -quality 90 b.jpg; identify -format '%wx%h %#\\n' b.jpg
      convert a.png \\( +clone -flip \\) +append -crop 200x100+50+50 +repage rgb:- | md5sum
      montage a.png a.png b.jpg -geometry 100x100+2+2 m.gif; identify m.gif | cut -d' ' -f2,3
      compare -metric AE a.png a.png null: 2>&1; echo
      MAGICK_TEMPORARY_PATH=$PWD convert -limit memory 64KiB -limit map 64KiB a.png -resize 200x200 rgb:- | md5sum; ls
      mogrify -format bmp a.png; stat -c %s a.bmp`,
  },
  {
    name: 'LibreOffice: text to odt and pdf, csv to xlsx and back',
    needs: ['soffice', 'unzip'],
    script: `
      o="soffice -env:UserInstallation=file://$PWD/profile --headless"
      printf 'A title\\n\\nSome text: %s\\n' "$(seq -s ' ' 300)" > a.txt; printf 'a,b\\n1,2\\n3,=A2+4\\n' > b.csv
      $o --convert-to odt a.txt >/dev/null 2>&1; unzip -p a.odt content.xml | grep -c 'Some text: 1 2 3'
      $o --convert-to pdf a.odt >/dev/null 2>&1; head -c 5 a.pdf; echo; grep -ac '/Type/Page\\b' a.pdf
      $o --convert-to xlsx b.csv >/dev/null 2>&1
      $o --convert-to csv:"Text - txt - csv (StarCalc)":44,34,76,1 --outdir out b.xlsx >/dev/null 2>&1; cat out/b.csv`,
  },
]
