/* What belongs nowhere else: uname, sysinfo, getrandom, prctl, scheduling, membarrier, personality, sysv and mqueue. */
#include "observe.h"
#include <sys/epoll.h>
#include <asm/prctl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <mqueue.h>
#include <pthread.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/random.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

SECTION("uname and host names")
{
	struct utsname name;
	char host[256];

	ERR(uname(&name));
	TEXT(name.sysname);
	TEXT(name.machine);
	SHOW(atoi(name.release) >= 5);
	SHOW(name.nodename[0] != 0);
	gethostname(host, sizeof host);
	SHOW(!strcmp(host, name.nodename));
	ERR(uname((struct utsname *)8));
	ERR(sethostname((char *)8, 3));
	ERR(sethostname("x", 100));
}

SECTION("sysinfo")
{
	struct sysinfo info;

	ERR(sysinfo(&info));
	SHOW(info.uptime > 0);
	SHOW(info.totalram > info.freeram);
	SHOW(info.mem_unit);
	SHOW(info.procs > 0);
	SHOW(get_nprocs() > 0);
	SHOW(sysconf(_SC_NPROCESSORS_ONLN) == get_nprocs());
	SHOW(sysconf(_SC_PHYS_PAGES) > 1000);
	SHOW(sysconf(_SC_CLK_TCK));
	SHOW(sysconf(_SC_PAGESIZE));
	SHOW(sysconf(_SC_ARG_MAX));
	ERR(sysinfo((struct sysinfo *)8));
}

SECTION("getrandom")
{
	unsigned char one[256], two[256];

	RET(getrandom(one, sizeof one, 0));
	RET(getrandom(two, sizeof two, GRND_NONBLOCK));
	SHOW(memcmp(one, two, sizeof one) != 0);
	RET(getrandom(one, 0, 0));
	ERR(getrandom(one, 8, 64));
	ERR(getrandom((void *)8, 8, 0));
	RET(getrandom(one, 16, GRND_RANDOM));
	RET(getrandom(one, 16, GRND_INSECURE));
}

SECTION("prctl: names, dumpable, subreaper, timer slack, unknown")
{
	char name[32] = "";

	ERR(prctl(PR_SET_NAME, "fifteen-letters-and-more"));
	ERR(prctl(PR_GET_NAME, name));
	TEXT(name);
	SHOW(prctl(PR_GET_DUMPABLE));
	ERR(prctl(PR_SET_DUMPABLE, 0));
	SHOW(prctl(PR_GET_DUMPABLE));
	ERR(prctl(PR_SET_DUMPABLE, 2));
	ERR(prctl(PR_SET_NAME, 8));
	SHOW(prctl(PR_GET_TIMERSLACK));
	ERR(prctl(PR_SET_TIMERSLACK, 1000));
	SHOW(prctl(PR_GET_TIMERSLACK));
	ERR(prctl(12345));
	SHOW(prctl(PR_GET_TSC, name));
	SHOW(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
}

SECTION("prctl: seccomp")
{
	RET(prctl(PR_GET_SECCOMP));
	ERR(prctl(PR_SET_SECCOMP, 77, 0));
	ERR(syscall(SYS_seccomp, 99, 0, NULL));
}

SECTION("arch_prctl: the FS and GS bases")
{
	unsigned long fs = 0, gs = 0, value;

	ERR(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs));
	__asm__("mov %%fs:0, %0" : "=r"(value));
	SHOW(fs == value);
	ERR(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
	SHOW(gs);
	static unsigned long cell = 4711;
	ERR(syscall(SYS_arch_prctl, ARCH_SET_GS, &cell));
	__asm__ volatile("mov %%gs:0, %0" : "=r"(value));
	SHOW(value);
	ERR(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
	SHOW(gs == (unsigned long)&cell);
	SHOW(getppid() > 0);
	__asm__ volatile("mov %%gs:0, %0" : "=r"(value));
	SHOW(value);
	pid_t pid = fork();
	if (pid == 0) {
		__asm__ volatile("mov %%gs:0, %0" : "=r"(value));
		_exit(value == 4711 ? 5 : 6);
	}
	STATUS(end_of(pid));
	ERR(syscall(SYS_arch_prctl, ARCH_SET_FS, 1ul << 63));
	ERR(syscall(SYS_arch_prctl, 0x9999, 0));
}

static unsigned long gs_cells[3] = { 11, 22, 33 };
static uint32_t gs_turn;

static unsigned long gs_value(void)
{
	unsigned long value;

	__asm__ volatile("mov %%gs:0, %0" : "=r"(value));
	return value;
}

static void *gs_thread(void *unused)
{
	(void)unused;
	SHOW(gs_value());
	ERR(syscall(SYS_arch_prctl, ARCH_SET_GS, &gs_cells[2]));
	/* A wait, for which the thread may leave by another way than it came. */
	while (__atomic_load_n(&gs_turn, __ATOMIC_ACQUIRE) == 0)
		syscall(SYS_futex, &gs_turn, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	SHOW(gs_value());
	return NULL;
}

SECTION("arch_prctl: GS with threads, waits and calls that were made often before")
{
	pthread_t thread;
	unsigned long gs = 1;

	for (int i = 0; i < 20; i++)
		syscall(SYS_arch_prctl, ARCH_GET_GS, &gs);
	SHOW(gs);
	for (int i = 0; i < 5; i++)
		MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, &gs_cells[i % 2]));
	SHOW(gs_value());
	gs_turn = 0;
	pthread_create(&thread, NULL, gs_thread, NULL);
	sleep_ms(50);
	SHOW(gs_value());
	__atomic_store_n(&gs_turn, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &gs_turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	pthread_join(thread, NULL);
	SHOW(gs_value());
	ERR(syscall(SYS_arch_prctl, ARCH_SET_GS, 0));
	ERR(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
	SHOW(gs);
}

SECTION("scheduling: policies, priorities, affinity, yield")
{
	cpu_set_t set;
	struct sched_param parameter = { 0 };
	unsigned cpu = 999, node = 999;

	SHOW(sched_getscheduler(0));
	ERR(sched_setscheduler(0, SCHED_BATCH, &parameter));
	SHOW(sched_getscheduler(0));
	ERR(sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){ 5 }));
	ERR(sched_setscheduler(0, 99, &parameter));
	SHOW(sched_get_priority_max(SCHED_FIFO));
	SHOW(sched_get_priority_min(SCHED_FIFO));
	SHOW(sched_get_priority_max(SCHED_OTHER));
	ERR(sched_get_priority_max(99));
	ERR(sched_yield());
	ERR(sched_getaffinity(0, sizeof set, &set));
	SHOW(CPU_COUNT(&set) == get_nprocs());
	CPU_ZERO(&set);
	ERR(sched_setaffinity(0, sizeof set, &set));
	CPU_SET(0, &set);
	ERR(sched_setaffinity(0, sizeof set, &set));
	ERR(sched_getaffinity(0, sizeof set, &set));
	SHOW(CPU_COUNT(&set));
	ERR(syscall(SYS_sched_getaffinity, 0, 1, &set));
	ERR(sched_getaffinity(99999999, sizeof set, &set));
	ERR(syscall(SYS_getcpu, &cpu, &node, NULL));
	SHOW(cpu);
	SHOW(getpriority(PRIO_PROCESS, 0));
	ERR(setpriority(PRIO_PROCESS, 0, 7));
	SHOW(getpriority(PRIO_PROCESS, 0));
	SHOW(syscall(SYS_getpriority, PRIO_PROCESS, 0));
	ERR(getpriority(9, 0));
	ERR(setpriority(PRIO_PROCESS, 99999999, 7));
}

SECTION("membarrier and rseq")
{
	SHOW(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) > 0);
	ERR(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
	ERR(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
	ERR(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
	ERR(syscall(SYS_membarrier, 1 << 20, 0, 0));
	ERR(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 1, 0));
}

SECTION("personality and other small calls")
{
	HEX(personality(0xffffffff));
	RET(personality(ADDR_NO_RANDOMIZE));
	HEX(personality(0xffffffff));
	ERR(syscall(470));
	ERR(syscall(5000));
	ERR(syscall(-1));
	ERR(syscall(SYS_restart_syscall));
	ERR(syscall(SYS_tuxcall));
	ERR(syscall(SYS_create_module));
	ERR(syscall(SYS_rt_sigreturn + 1000));
	SHOW(getpagesize());
	ERR(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 4));
	RET(syscall(SYS_ioprio_get, 1, 0));
	ERR(syscall(SYS_kcmp, getpid(), getpid(), 0, 0, 0));
	ERR(syscall(SYS_getcpu, NULL, NULL, NULL));
}

SECTION("System V shared memory")
{
	struct shmid_ds state;
	int id = shmget(IPC_PRIVATE, 5000, IPC_CREAT | 0600);

	ERR(id);
	char *at = shmat(id, NULL, 0);
	SHOW(at != (char *)-1);
	strcpy(at, "shared");
	pid_t pid = fork();
	if (pid == 0) {
		at[0] = 'S';
		_exit(0);
	}
	end_of(pid);
	TEXT(at);
	ERR(shmctl(id, IPC_STAT, &state));
	SHOW(state.shm_segsz);
	SHOW(state.shm_nattch);
	ERR(shmctl(id, IPC_RMID, NULL));
	char *again = shmat(id, NULL, SHM_RDONLY);
	SHOW(again != (char *)-1);
	ERR(shmdt(at));
	ERR(shmdt(at));
	ERR(shmdt(again));
	ERR(shmat(id, NULL, 0) == (void *)-1 ? -1 : 0);
	ERR(shmget(0x5eed, 100, 0));
}

SECTION("System V semaphores")
{
	struct sembuf up = { 0, 2, 0 }, down = { 0, -1, IPC_NOWAIT }, zero = { 0, 0, IPC_NOWAIT }, undo = { 0, -1, SEM_UNDO };
	int id = semget(IPC_PRIVATE, 2, IPC_CREAT | 0600);

	ERR(id);
	ERR(semctl(id, 0, SETVAL, 1));
	RET(semctl(id, 0, GETVAL));
	ERR(semop(id, &down, 1));
	ERR(semop(id, &down, 1));
	ERR(semop(id, &zero, 1));
	ERR(semop(id, &up, 1));
	pid_t pid = fork();
	if (pid == 0) {
		semop(id, &undo, 1);
		SHOW(semctl(id, 0, GETVAL));
		_exit(0);
	}
	end_of(pid);
	RET(semctl(id, 0, GETVAL));
	pid = fork();
	if (pid == 0) {
		struct sembuf wait = { 1, -1, 0 };
		ERR(semop(id, &wait, 1));
		_exit(0);
	}
	await_state(pid, 'S');
	MUST(semctl(id, 0, IPC_RMID));
	STATUS(end_of(pid));
	ERR(semop(id, &up, 1));
}

struct message {
	long type;
	char text[16];
};

SECTION("System V message queues")
{
	struct message one = { 1, "one" }, two = { 2, "two" }, got = { 0 };
	int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);

	ERR(id);
	ERR(msgsnd(id, &one, 4, 0));
	ERR(msgsnd(id, &two, 4, 0));
	RET(msgrcv(id, &got, 16, 2, 0));
	TEXT(got.text);
	ERR(msgrcv(id, &got, 2, 0, 0));
	RET(msgrcv(id, &got, 2, 0, MSG_NOERROR));
	ERR(msgrcv(id, &got, 16, 0, IPC_NOWAIT));
	one.type = 0;
	ERR(msgsnd(id, &one, 4, 0));
	ERR(msgctl(id, IPC_RMID, NULL));
	ERR(msgsnd(id, &two, 4, 0));
}

SECTION("POSIX message queues")
{
	struct mq_attr attributes = { .mq_maxmsg = 2, .mq_msgsize = 16 }, got;
	char text[16] = "", name[32];
	unsigned priority = 0;

	snprintf(name, sizeof name, "/observe-%d", getpid());
	mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attributes);
	ERR(queue);
	ERR(mq_send(queue, "low", 4, 1));
	ERR(mq_send(queue, "high", 5, 9));
	ERR(mq_send(queue, "more", 5, 9));
	ERR(mq_send(queue, "much more than sixteen", 22, 9));
	RET(mq_receive(queue, text, sizeof text, &priority));
	TEXT(text);
	SHOW(priority);
	ERR(mq_receive(queue, text, 8, &priority));
	ERR(mq_getattr(queue, &got));
	SHOW(got.mq_curmsgs);
	SHOW(got.mq_maxmsg);
	ERR(mq_unlink(name));
	ERR(mq_unlink(name));
}

static int reboot_in_namespace(void *command)
{
	syscall(SYS_reboot, 0xfee1dead, 672274793, (long)command, 0);
	return errno == EINVAL ? 22 : 1;
}

SECTION("reboot in a pid namespace ends it, and tells how")
{
	need_root();
	static const unsigned commands[] = { 0x1234567, 0xa1b2c3d4, 0x4321fedc, 0xcdef0123, 0 };
	static char stack[65536] __attribute__((aligned(16)));

	for (size_t i = 0; i < LENGTH(commands); i++) {
		void *command = (void *)(long)commands[i];
		pid_t pid = MUST(clone(reboot_in_namespace, stack + sizeof stack, CLONE_NEWPID | SIGCHLD, command));
		STATUS(end_of(pid));
	}
}

SECTION("a sleep of 68 years that is interrupted tells what is left")
{
	struct timespec request = { INT32_MAX, 0 }, left = { 0, 0 };
	struct itimerval soon = { .it_value.tv_usec = 20000 };

	handle(SIGALRM, ignore, 0);
	MUST(setitimer(ITIMER_REAL, &soon, NULL));
	ERR(nanosleep(&request, &left));
	SHOW(INT32_MAX - left.tv_sec <= 2);
	alarm(1);
	SHOW(INT32_MAX - sleep(INT32_MAX) <= 2);
}

SECTION("kcmp: what an epoll watches")
{
	int epoll = MUST(epoll_create1(0)), ends[2];
	struct epoll_event event = { .events = EPOLLIN };
	/* struct kcmp_epoll_slot. */
	uint32_t slot[3] = { epoll, 0, 0 };
	pid_t self = getpid();
	enum { EPOLL_TFD = 7 };

	MUST(pipe(ends));
	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event));
	slot[1] = ends[0];
	RET(syscall(SYS_kcmp, self, self, EPOLL_TFD, ends[0], slot));
	SHOW(syscall(SYS_kcmp, self, self, EPOLL_TFD, ends[1], slot) > 0);
	ERR(syscall(SYS_kcmp, self, self, EPOLL_TFD, 99, slot));
	ERR(syscall(SYS_kcmp, self, self, EPOLL_TFD, ends[0], 8));
	slot[2] = 1;
	ERR(syscall(SYS_kcmp, self, self, EPOLL_TFD, ends[0], slot));
	slot[2] = 0;
	slot[1] = ends[1];
	ERR(syscall(SYS_kcmp, self, self, EPOLL_TFD, ends[0], slot));
	slot[0] = ends[0];
	ERR(syscall(SYS_kcmp, self, self, EPOLL_TFD, ends[0], slot));
	slot[0] = 99;
	ERR(syscall(SYS_kcmp, self, self, EPOLL_TFD, ends[0], slot));
}

SECTION("kcmp: undo lists of System V semaphores")
{
	int set = MUST(semget(IPC_PRIVATE, 1, 0600));
	struct sembuf up = { 0, 1, SEM_UNDO };
	pid_t self = getpid(), child = fork();

	if (child == 0) {
		pause();
		_exit(0);
	}
	RET(syscall(SYS_kcmp, self, self, 6, 0, 0));
	RET(syscall(SYS_kcmp, self, child, 6, 0, 0));
	MUST(semop(set, &up, 1));
	RET(syscall(SYS_kcmp, self, self, 6, 0, 0));
	SHOW(syscall(SYS_kcmp, self, child, 6, 0, 0) > 0);
	semctl(set, 0, IPC_RMID);
	kill(child, SIGKILL);
}
