/** Servers and clients for network.test.ts: bash scripts that find their port in $PORT and run in a directory of their own. */

export interface Service {
  readonly name: string
  /** Commands without which it is skipped. */
  readonly needs: readonly string[]
  /** Only root can run the server. */
  readonly root?: boolean
  readonly files?: Readonly<Record<string, string>>
  /** Run on the host before both. */
  readonly prepare?: string
  /** Stays in the foreground until SIGTERM. */
  readonly server: string
  /** What it prints is compared. */
  readonly client: string
}

const PAGE = 'import sys; sys.stdout.write("0123456789abcdef" * 65536)'

export const SERVICES: readonly Service[] = [
  {
    name: 'python http.server and curl',
    needs: ['python3', 'curl', 'sha256sum'],
    prepare: `python3 -c '${PAGE}' > page`,
    server: 'exec python3 -m http.server --bind 127.0.0.1 $PORT',
    client:
      'for i in 1 2 3; do curl -sS http://127.0.0.1:$PORT/page | sha256sum; done; curl -sS -o /dev/null -w "%{http_code}\\n" http://localhost:$PORT/none',
  },
  {
    name: 'python http.server and wget',
    needs: ['python3', 'wget', 'sha256sum'],
    prepare: `python3 -c '${PAGE}' > page`,
    server: 'exec python3 -m http.server --bind 127.0.0.1 $PORT',
    client: 'wget -q -O - http://127.0.0.1:$PORT/page | sha256sum',
  },
  {
    name: 'python asyncio, a hundred connections at once',
    needs: ['python3'],
    files: {
      'server.py': `
import asyncio, os
async def serve(reader, writer):
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(serve, '127.0.0.1', int(os.environ['PORT']), backlog=200)
    await server.serve_forever()
asyncio.run(main())
`,
      'client.py': `
import asyncio, os
async def ask(i):
    reader, writer = await asyncio.open_connection('127.0.0.1', int(os.environ['PORT']))
    answers = []
    for j in range(5):
        writer.write(b'question %d %d\\n' % (i, j))
        answers.append(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return answers
async def main():
    print(await asyncio.gather(*(ask(i) for i in range(100))))
asyncio.run(main())
`,
    },
    server: 'exec python3 server.py',
    client: 'python3 client.py',
  },
  {
    name: 'node http and fetch',
    needs: ['node'],
    files: {
      'server.mjs': `
import { createServer } from 'node:http'
createServer((request, response) => {
  let size = 0
  request.on('data', piece => (size += piece.length))
  request.on('end', () => response.end(JSON.stringify({ url: request.url, size })))
}).listen(Number(process.env.PORT), '127.0.0.1')
`,
      'client.mjs': `
const base = 'http://localhost:' + process.env.PORT
const answers = await Promise.all(
  Array.from({ length: 20 }, async (_, i) => {
    const response = await fetch(base + '/' + i, { method: 'POST', body: 'x'.repeat(i * 30000) })
    return response.json()
  }),
)
console.log(JSON.stringify(answers))
`,
    },
    server: 'exec node server.mjs',
    client: 'node client.mjs',
  },
  {
    name: 'go net/http',
    needs: ['go'],
    files: {
      'go.mod': 'module example\n\ngo 1.20\n',
      'main.go': `package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
)

func main() {
	address := "127.0.0.1:" + os.Args[2]
	if os.Args[1] == "server" {
		http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, "%s %d\\n", r.URL.Path, n)
		})
		fmt.Println(http.ListenAndServe(address, nil))
		return
	}
	interfaces, err := net.Interfaces()
	fmt.Println(len(interfaces) > 0, err)
	answers := make([]string, 20)
	var group sync.WaitGroup
	for i := range answers {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			response, err := http.Post(fmt.Sprintf("http://%s/%d", address, i), "text/plain", strings.NewReader(strings.Repeat("x", i*50000)))
			if err != nil {
				answers[i] = err.Error()
				return
			}
			body, _ := io.ReadAll(response.Body)
			response.Body.Close()
			answers[i] = string(body)
		}(i)
	}
	group.Wait()
	fmt.Print(strings.Join(answers, ""))
}
`,
    },
    prepare: 'go build -o program .',
    server: 'exec ./program server $PORT',
    client: './program client $PORT',
  },
  {
    name: 'java HttpServer and HttpClient',
    needs: ['java', 'javac'],
    files: {
      'Server.java': `
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
public class Server {
  public static void main(String[] args) throws Exception {
    var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 50);
    server.createContext("/", exchange -> {
      var body = exchange.getRequestBody().readAllBytes();
      var answer = (exchange.getRequestURI() + " " + body.length).getBytes();
      exchange.sendResponseHeaders(200, answer.length);
      exchange.getResponseBody().write(answer);
      exchange.close();
    });
    server.start();
  }
}
`,
      'Client.java': `
import java.net.URI;
import java.net.http.*;
public class Client {
  public static void main(String[] args) throws Exception {
    var client = HttpClient.newHttpClient();
    for (int i = 0; i < 10; i++) {
      var request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + args[0] + "/" + i))
        .POST(HttpRequest.BodyPublishers.ofByteArray(new byte[i * 10000])).build();
      System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
    }
  }
}
`,
    },
    prepare: 'javac Server.java Client.java',
    server: 'exec java Server $PORT',
    client: 'java Client $PORT',
  },
  {
    name: 'nginx and curl',
    needs: ['nginx', 'curl', 'sha256sum'],
    prepare: `python3 -c '${PAGE}' > page; printf 'daemon off; user %s %s; pid nginx.pid; error_log stderr; worker_processes 2;
events { worker_connections 64; use epoll; }
http { access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fast; uwsgi_temp_path uwsgi;
scgi_temp_path scgi; sendfile on; tcp_nopush on; server { listen 127.0.0.1:%s; root .; } }' $(id -un) $(id -gn) $PORT > nginx.conf`,
    server: 'exec nginx -p "$PWD" -c nginx.conf',
    client:
      'curl -sS --no-progress-meter -Z --parallel-max 8 $(for i in 1 2 3 4 5 6 7 8; do echo -o got$i http://127.0.0.1:$PORT/page; done); cat got? | sha256sum; curl -sS -r 5-10 http://127.0.0.1:$PORT/page',
  },
  {
    name: 'redis',
    needs: ['redis-server', 'redis-cli'],
    server: 'exec redis-server --bind 127.0.0.1 --port $PORT --save "" --dir . --loglevel warning',
    client:
      'redis-cli -p $PORT set a 1; redis-cli -p $PORT incr a; for i in $(seq 200); do echo lpush l $i; done | redis-cli -p $PORT --pipe | tail -1; redis-cli -p $PORT llen l; redis-cli -p $PORT lrange l 0 3',
  },
  {
    name: 'dnsmasq and dig',
    needs: ['dnsmasq', 'dig'],
    server:
      'exec dnsmasq -k -C /dev/null --user=$(id -un) --pid-file=dnsmasq.pid --no-resolv --no-hosts --listen-address=127.0.0.1 --bind-interfaces --port=$PORT --address=/example.test/192.0.2.7 --log-facility=-',
    client:
      'dig +short +tries=1 @127.0.0.1 -p $PORT www.example.test; dig +tcp +short +tries=1 @127.0.0.1 -p $PORT www.example.test; dig +short @127.0.0.1 -p $PORT aaaa www.example.test',
  },
  {
    name: 'ssh',
    needs: ['sshd', 'ssh', 'ssh-keygen'],
    root: true,
    prepare:
      'mkdir -p /run/sshd; ssh-keygen -q -t ed25519 -N "" -f hostkey; ssh-keygen -q -t ed25519 -N "" -f key; cp key.pub authorized; chmod 600 authorized',
    server:
      'exec $(command -v sshd) -D -e -f /dev/null -p $PORT -h "$PWD/hostkey" -o ListenAddress=127.0.0.1 -o AuthorizedKeysFile="$PWD/authorized" -o StrictModes=no -o PidFile=none -o UsePAM=no',
    client:
      'ssh -q -F /dev/null -i key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p $PORT root@127.0.0.1 "echo from there; head -c 300000 /dev/zero | wc -c"',
  },
]
