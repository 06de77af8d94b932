/** Debuggers and tracers, which look into other processes: scripts of programs.test.ts. */
import type { Program } from './program-list.ts'

const SUBJECT = `#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int counter;
static char text[] = "look at me";

static int factorial(int n)
{
	if (n <= 1)
		return 1;
	return n * factorial(n - 1);
}

static void *work(void *arg)
{
	for (int i = 0; i < 3; i++)
		counter += 2;
	return arg;
}

static int fall(int *address)
{
	return *address;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	char line[16];

	setvbuf(stdout, NULL, _IONBF, 0);
	if (argc > 1 && !strcmp(argv[1], "crash"))
		return fall((int *)16);
	if (argc > 1 && !strcmp(argv[1], "wait")) {
		puts("ready");
		if (fgets(line, sizeof line, stdin))
			printf("got %s", line);
		return 5;
	}
	printf("%d\\n", factorial(5));
	pthread_create(&thread, NULL, work, NULL);
	pthread_join(thread, NULL);
	printf("%d %s\\n", counter, text);
	return 7;
}
`

const FILES = { 'subject.c': SUBJECT }
const BUILD = 'gcc -g -O0 -pthread -o subject subject.c'
/** gdb with commands from standard input; what differs from run to run is taken out. */
const GDB = `gdb() { cat > commands; command gdb -nx -q -batch -iex 'set debuginfod enabled off' -ex 'set width 0' -x commands "$@" 2>&1 < /dev/null |
  sed -E 's/0x[0-9a-f]+/ADDRESS/g; s/(LWP|process) [0-9]+/\\1 N/g; s/(LWP N[)] "subject") .*/\\1/; s/Target Id +Frame/Target Id Frame/' | grep -vE 'libthread_db|New (Thread|LWP)|Switching|Thread ADDRESS .*exited'; }
  `

export const DEBUGGER_PROGRAMS: readonly Program[] = [
  {
    name: 'strace: calls of a pipeline, arguments, results, children',
    needs: ['strace', 'bash'],
    script: `
      echo content > file
      strace -qq -e trace=read,write,close -e signal=none -P "$PWD/file" -o trace cat file; cat trace
      strace -f -qq -e trace=execve,exit_group -e signal=none -o trace sh -c '/bin/true; /bin/false; exit 3'; echo "status $?"
      grep -c execve trace; grep -o 'exit_group([0-9]*)' trace | sort
      strace -f -e trace=none -o trace sh -c 'kill -TERM $$'; echo "status $?"; sed -E 's/^[0-9]+ +//; s/si_pid=[0-9]+/si_pid=N/' trace
      strace -f -c -S name -U name,errors -e trace=openat,chdir -o counts sh -c 'cd /nowhere; cat file file missing' 2>/dev/null
      grep -E 'chdir' counts
      strace -f -qq -e trace=write -e inject=write:error=ENOSPC -o /dev/null cat file; echo "status $?"`,
  },
  {
    name: 'strace: attaches to a process and leaves it again',
    needs: ['strace', 'bash', 'gcc'],
    files: FILES,
    prepare: BUILD,
    script: `
      mkfifo in; ./subject wait < in > out & pid=$!; exec 3>in
      until grep -q ready out 2>/dev/null; do sleep 0.05; done
      strace -qq -e trace=read -o trace -p $pid & tracer=$!
      until grep -q "TracerPid:.$tracer" /proc/$pid/status; do sleep 0.05; done
      echo hello >&3; wait $pid; echo "status $?"; wait $tracer; cat out; grep -o 'read(0, "hello.n", [0-9]*)' trace
      ./subject wait < in > out & pid=$!; exec 3>in
      until grep -q ready out 2>/dev/null; do sleep 0.05; done
      strace -qq -o trace -p $pid & tracer=$!
      until grep -q "TracerPid:.$tracer" /proc/$pid/status; do sleep 0.05; done
      kill -INT $tracer; wait $tracer; grep TracerPid /proc/$pid/status; echo on >&3; wait $pid; echo "status $?"`,
  },
  {
    name: 'gdb: breakpoints, stacks, steps, variables',
    needs: ['gdb', 'gcc', 'bash'],
    files: FILES,
    prepare: BUILD,
    script: `${GDB}gdb ./subject <<'END'
break factorial
run > output
bt
info args
step
next
delete
break factorial if n == 2
continue
bt 3
finish
up
info locals
delete
call factorial(4)
print text
set var text[0] = 'b'
print $rip == (long)$pc
x/2i factorial
continue
END
      cat output`,
  },
  {
    name: 'gdb: threads, watchpoints in hardware and software',
    needs: ['gdb', 'gcc', 'bash'],
    files: FILES,
    prepare: BUILD,
    script: `${GDB}gdb ./subject <<'END'
break work
run > output
info threads
bt 1
watch counter
continue
continue
delete
continue
END
      gdb ./subject <<'END'
set can-use-hw-watchpoints 0
break work
run > output
set scheduler-locking on
watch counter
continue
END
      cat output`,
  },
  {
    name: 'gdb: follows forks and execs, catches calls and signals',
    needs: ['gdb', 'bash'],
    files: {
      'fork.sh': '/bin/true\necho over\n',
      'signal.sh': 'trap "echo trapped" USR1\nkill -USR1 $$\ncd /\necho over\n',
    },
    script: `${GDB}gdb bash <<'END'
set follow-fork-mode child
catch exec
run fork.sh > output
info program
continue
END
      gdb bash <<'END'
handle SIGUSR1 stop nopass
catch syscall chdir
run signal.sh > output
continue
print $rax == -38
continue
print $rax
continue
END
      cat output`,
  },
  {
    name: 'gdb: attaches, detaches, and what it writes as a core file',
    needs: ['gdb', 'gcc', 'bash'],
    files: FILES,
    prepare: BUILD,
    script: `${GDB}mkfifo in; ./subject wait < in > out & pid=$!; exec 3>in
      until grep -q ready out 2>/dev/null; do sleep 0.05; done
      gdb -p $pid ./subject <<'END' | grep -E 'main|text|Saved|detached'
bt -1
print text
generate-core-file saved
detach
END
      grep TracerPid /proc/$pid/status; echo more >&3; wait $pid; echo "status $?"; cat out
      gdb ./subject saved <<'END' | grep -E 'main|text|[$]1'
bt -1
print text
END`,
  },
  {
    name: 'a core dump of the kernel’s, and gdb on it',
    needs: ['gdb', 'gcc', 'bash'],
    files: FILES,
    prepare: BUILD,
    script: `${GDB}if [ "$(cat /proc/sys/kernel/core_pattern)" = core ]; then
        ulimit -c unlimited; ./subject crash; echo "status $?"
        gdb ./subject core <<'END'
bt
print text
info threads
print $_siginfo.si_signo
END
      fi 2>&1 | sed -E 's/ *[0-9]+ Segm/ N Segm/'`,
  },
  {
    name: 'ltrace: calls of the C library',
    needs: ['ltrace', 'gcc', 'bash'],
    files: FILES,
    prepare: 'gcc -g -O0 -no-pie -Wl,-z,lazy -pthread -o subject subject.c',
    script: `
      ltrace -o trace ./subject; echo "status $?"; grep -oE '^(printf|pthread_join)' trace; tail -1 trace
      ltrace -S -o trace -e puts bash -c 'exit 4'; echo "status $?"`,
  },
  {
    name: 'proot: a root directory and an identity by ptrace and seccomp',
    needs: ['proot', 'bash'],
    script: `
      mkdir -p here/deep; echo bound > here/deep/file
      proot -0 -b "$PWD/here:/elsewhere" sh -c 'id -u; cat /elsewhere/deep/file; touch /elsewhere/new; chown 5:6 /elsewhere/new; cd /elsewhere; pwd'
      ls here; PROOT_NO_SECCOMP=1 proot -b here/deep:/mnt sh -c 'ls /mnt; exit 6'; echo "status $?"`,
  },
  {
    name: 'User-Mode Linux boots and runs a program',
    needs: ['linux.uml', 'bash'],
    root: true,
    files: { 'init.sh': '#!/bin/sh\necho inside\necho $((6 * 7))\nhalt -f\n' },
    script: `
      chmod +x init.sh
      linux.uml mem=64M root=/dev/root rootfstype=hostfs rootflags=/ rw init=$PWD/init.sh con=null con0=fd:0,fd:1 < /dev/null 2>&1 |
        tr -d '\\r' | grep -E '^(inside|42|Halting)'`,
  },
]
