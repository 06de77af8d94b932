/* System V IPC: semaphores, message queues, shared memory. */
#include "observe.h"
#include <grp.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
	struct seminfo *info;
};

struct message {
	long type;
	char text[64];
};

static int change(int set, int num, int by, int flags)
{
	struct sembuf op = { num, by, flags };

	return semop(set, &op, 1);
}

static int send_text(int queue, long type, const char *text, int flags)
{
	struct message message = { .type = type };

	strcpy(message.text, text);
	return msgsnd(queue, &message, strlen(text), flags);
}

static void receive_text(int queue, long type, int flags)
{
	struct message message = { 0 };
	ssize_t length = msgrcv(queue, &message, sizeof message.text, type, flags);

	if (length < 0)
		say("type %ld: %s\n", type, error_name(errno));
	else
		say("type %ld: %ld \"%.*s\"\n", type, message.type, (int)length, message.text);
}

SECTION("keys: IPC_CREAT, IPC_EXCL, sizes, permissions, removal")
{
	key_t key = 0x5ca15501 + getpid();

	ERR(semget(key, 1, 0600));
	int set = MUST(semget(key, 3, IPC_CREAT | 0600));
	SHOW(semget(key, 0, 0) == set);
	SHOW(semget(key, 3, IPC_CREAT | 0600) == set);
	ERR(semget(key, 3, IPC_CREAT | IPC_EXCL | 0600));
	ERR(semget(key, 4, 0600));
	ERR(semget(IPC_PRIVATE, 0, 0600));
	ERR(semget(IPC_PRIVATE, -1, 0600));
	ERR(semget(IPC_PRIVATE, 32001, 0600));
	ERR(semctl(set, 0, IPC_RMID));
	ERR(semctl(set, 0, IPC_RMID));
	ERR(semctl(set, 0, GETVAL));
	ERR(semget(key, 0, 0));
	ERR(shmget(IPC_PRIVATE, 0, 0600));
	ERR(shmget(IPC_PRIVATE, -1, 0600));
	ERR(msgctl(-1, IPC_RMID, NULL));
	ERR(msgctl(0x7ffffff, IPC_STAT, NULL));
	ERR(semctl(set, 0, 99));
	int first = MUST(semget(IPC_PRIVATE, 1, 0600));
	MUST(semctl(first, 0, IPC_RMID));
	int second = MUST(semget(IPC_PRIVATE, 1, 0600));
	SHOW(first != second);
	semctl(second, 0, IPC_RMID);
}

SECTION("permissions: another user")
{
	need_root();
	int set = MUST(semget(IPC_PRIVATE, 1, 0640));
	int queue = MUST(msgget(IPC_PRIVATE, 0602));

	pid_t pid = fork();
	if (pid == 0) {
		MUST(setgroups(0, NULL));
		MUST(setgid(12345));
		MUST(setuid(12345));
		struct semid_ds ds;
		ERR(semctl(set, 0, IPC_STAT, (union semun){ .buf = &ds }));
		ERR(semctl(set, 0, SETVAL, (union semun){ .val = 1 }));
		ERR(semctl(set, 0, IPC_RMID));
		ERR(send_text(queue, 1, "x", IPC_NOWAIT));
		receive_text(queue, 0, IPC_NOWAIT);
		ERR(msgctl(queue, IPC_RMID, NULL));
		_exit(0);
	}
	STATUS(end_of(pid));
	struct semid_ds ds;
	MUST(semctl(set, 0, IPC_STAT, (union semun){ .buf = &ds }));
	SHOW(ds.sem_perm.mode);
	SHOW(ds.sem_perm.uid == geteuid() && ds.sem_perm.cuid == geteuid());
	ds.sem_perm.uid = 12345;
	ds.sem_perm.mode = 0600;
	ERR(semctl(set, 0, IPC_SET, (union semun){ .buf = &ds }));
	pid = fork();
	if (pid == 0) {
		MUST(setuid(12345));
		ERR(semctl(set, 0, SETVAL, (union semun){ .val = 1 }));
		ERR(semctl(set, 0, IPC_RMID));
		_exit(0);
	}
	STATUS(end_of(pid));
	msgctl(queue, IPC_RMID, NULL);
}

SECTION("semop: values, errors, all or nothing")
{
	int set = MUST(semget(IPC_PRIVATE, 3, 0600));
	unsigned short values[3] = { 5, 0, 1 };

	ERR(semctl(set, 0, SETALL, (union semun){ .array = values }));
	ERR(change(set, 0, -3, IPC_NOWAIT));
	SHOW(semctl(set, 0, GETVAL));
	ERR(change(set, 0, -3, IPC_NOWAIT));
	ERR(change(set, 1, 0, 0));
	ERR(change(set, 2, 0, IPC_NOWAIT));
	ERR(change(set, 3, 1, 0));
	ERR(change(set, 0, 32767, 0));
	ERR(semctl(set, 0, SETVAL, (union semun){ .val = 32768 }));
	ERR(syscall(SYS_semctl, set, 0, SETVAL, -1L));
	ERR(semctl(set, 3, GETVAL));
	struct sembuf both[] = { { 0, -2, 0 }, { 1, -1, IPC_NOWAIT } };
	ERR(semop(set, both, 2));
	SHOW(semctl(set, 0, GETVAL));
	struct sembuf order[] = { { 1, 1, 0 }, { 1, -1, IPC_NOWAIT }, { 2, -1, IPC_NOWAIT }, { 2, 0, IPC_NOWAIT } };
	ERR(semop(set, order, 4));
	MUST(semctl(set, 0, GETALL, (union semun){ .array = values }));
	say("%d %d %d\n", values[0], values[1], values[2]);
	SHOW(semctl(set, 1, GETPID) == getpid());
	ERR(semop(set, both, 0));
	ERR(semop(set, both, 501));
	ERR(semop(set, NULL, 1));
	struct timespec soon = { 0, 20000000 }, bad = { 0, -1 };
	struct sembuf wait = { 1, -1, 0 };
	ERR(semtimedop(set, &wait, 1, &soon));
	ERR(semtimedop(set, &wait, 1, &bad));
	struct semid_ds ds;
	MUST(semctl(set, 0, IPC_STAT, (union semun){ .buf = &ds }));
	SHOW(ds.sem_nsems);
	SHOW(ds.sem_otime != 0 && ds.sem_ctime != 0);
	semctl(set, 0, IPC_RMID);
}

SECTION("semop: waiting, who waits, removal, signals")
{
	int set = MUST(semget(IPC_PRIVATE, 2, 0600));
	pid_t taker = fork();

	if (taker == 0)
		_exit(change(set, 0, -2, 0) == 0 ? 0 : 1);
	pid_t zero = fork();
	if (zero == 0) {
		struct sembuf ops[] = { { 0, 0, 0 }, { 1, 5, 0 } };
		_exit(semop(set, ops, 2) == 0 ? 0 : 1);
	}
	STATUS(end_of(zero));
	SHOW(semctl(set, 1, GETVAL));
	await_state(taker, 'S');
	SHOW(semctl(set, 0, GETNCNT));
	SHOW(semctl(set, 0, GETZCNT));
	MUST(change(set, 0, 1, 0));
	await_state(taker, 'S');
	SHOW(semctl(set, 0, GETVAL));
	MUST(change(set, 0, 1, 0));
	STATUS(end_of(taker));
	SHOW(semctl(set, 0, GETVAL));

	pid_t sleeper = fork();
	if (sleeper == 0) {
		handle(SIGUSR1, ignore, SA_RESTART);
		ERR(change(set, 0, -1, 0));
		ERR(change(set, 0, -1, 0));
		_exit(0);
	}
	await_state(sleeper, 'S');
	kill(sleeper, SIGUSR1);
	sleep_ms(20);
	await_state(sleeper, 'S');
	MUST(semctl(set, 0, IPC_RMID));
	STATUS(end_of(sleeper));
}

SECTION("SEM_UNDO: at exit, killed, not by SETVAL's values")
{
	int set = MUST(semget(IPC_PRIVATE, 2, 0600));

	semctl(set, 0, SETVAL, (union semun){ .val = 3 });
	pid_t pid = fork();
	if (pid == 0) {
		MUST(change(set, 0, -2, SEM_UNDO));
		MUST(change(set, 1, 4, SEM_UNDO));
		MUST(change(set, 1, -1, 0));
		raise(SIGKILL);
	}
	STATUS(end_of(pid));
	SHOW(semctl(set, 0, GETVAL));
	SHOW(semctl(set, 1, GETVAL));
	SHOW(semctl(set, 0, GETPID) == pid);
	pid = fork();
	if (pid == 0) {
		MUST(change(set, 0, -2, SEM_UNDO));
		MUST(semctl(set, 0, SETVAL, (union semun){ .val = 9 }));
		_exit(0);
	}
	STATUS(end_of(pid));
	SHOW(semctl(set, 0, GETVAL));
	/* A waiter goes on when the holder's end gives back what it took. */
	semctl(set, 0, SETVAL, (union semun){ .val = 1 });
	pid_t holder = fork();
	if (holder == 0) {
		MUST(change(set, 0, -1, SEM_UNDO));
		pause();
	}
	while (semctl(set, 0, GETVAL) != 0)
		sleep_ms(1);
	pid_t waiter = fork();
	if (waiter == 0)
		_exit(change(set, 0, -1, 0) == 0 ? 0 : 1);
	await_state(waiter, 'S');
	kill(holder, SIGKILL);
	STATUS(end_of(waiter));
	STATUS(end_of(holder));
	semctl(set, 0, IPC_RMID);
}

SECTION("semaphores as a lock between processes")
{
	int set = MUST(semget(IPC_PRIVATE, 1, 0600));
	volatile int *count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	semctl(set, 0, SETVAL, (union semun){ .val = 1 });
	for (int i = 0; i < 4; i++) {
		if (fork() != 0)
			continue;
		for (int j = 0; j < 200; j++) {
			MUST(change(set, 0, -1, SEM_UNDO));
			int seen = *count;
			if (j % 10 == 0)
				sched_yield();
			*count = seen + 1;
			MUST(change(set, 0, 1, SEM_UNDO));
		}
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
	SHOW(*count);
	SHOW(semctl(set, 0, GETVAL));
	semctl(set, 0, IPC_RMID);
}

SECTION("messages: order, types, MSG_EXCEPT, MSG_NOERROR, MSG_COPY")
{
	int queue = MUST(msgget(IPC_PRIVATE, 0600));

	MUST(send_text(queue, 3, "three", 0));
	MUST(send_text(queue, 1, "one", 0));
	MUST(send_text(queue, 2, "two", 0));
	MUST(send_text(queue, 3, "drei", 0));
	MUST(send_text(queue, 5, "", 0));
	receive_text(queue, 1, MSG_COPY | IPC_NOWAIT);
	receive_text(queue, 9, MSG_COPY | IPC_NOWAIT);
	receive_text(queue, 3, IPC_NOWAIT);
	receive_text(queue, -2, IPC_NOWAIT);
	receive_text(queue, -2, IPC_NOWAIT);
	receive_text(queue, -2, IPC_NOWAIT);
	receive_text(queue, 3, MSG_EXCEPT | IPC_NOWAIT);
	receive_text(queue, 0, IPC_NOWAIT);
	receive_text(queue, 0, IPC_NOWAIT);
	struct message message;
	MUST(send_text(queue, 7, "long text", 0));
	ERR(msgrcv(queue, &message, 4, 0, 0));
	RET(msgrcv(queue, &message, 4, 0, MSG_NOERROR));
	SHOW(memcmp(message.text, "long", 4));
	ERR(send_text(queue, 0, "x", 0));
	ERR(send_text(queue, -1, "x", 0));
	message.type = 1;
	ERR(msgsnd(queue, &message, 8193, 0));
	ERR(msgsnd(queue, &message, -1, 0));
	ERR(msgsnd(queue, NULL, 1, 0));
	ERR(msgrcv(queue, &message, -1, 0, IPC_NOWAIT));
	ERR(msgrcv(queue, &message, 4, 0, MSG_COPY));
	ERR(msgctl(queue, IPC_RMID, NULL));
	ERR(msgrcv(queue, &message, 4, 0, IPC_NOWAIT));
}

SECTION("messages: a full queue, msgctl, waiting on both sides")
{
	int queue = MUST(msgget(IPC_PRIVATE, 0600));
	struct msqid_ds ds;
	int sent = 0;

	while (send_text(queue, 1, "0123456789012345678901234567890123456789", IPC_NOWAIT) == 0)
		sent++;
	SHOW(errno == EAGAIN);
	SHOW(sent);
	MUST(msgctl(queue, IPC_STAT, &ds));
	SHOW(ds.msg_qnum);
	SHOW(ds.__msg_cbytes);
	SHOW(ds.msg_qbytes);
	SHOW(ds.msg_lspid == getpid() && ds.msg_lrpid == 0 && ds.msg_stime != 0 && ds.msg_rtime == 0);
	pid_t sender = fork();
	if (sender == 0)
		_exit(send_text(queue, 2, "late", 0) == 0 ? 0 : 1);
	await_state(sender, 'S');
	receive_text(queue, 1, 0);
	STATUS(end_of(sender));
	receive_text(queue, 2, 0);
	ds.msg_qbytes = 100;
	MUST(msgctl(queue, IPC_SET, &ds));
	ERR(send_text(queue, 1, "x", IPC_NOWAIT));
	while (sent-- > 1)
		receive_text(queue, 0, IPC_NOWAIT), sent > 3 ? sent = 3 : 0;
	pid_t receiver = fork();
	if (receiver == 0) {
		receive_text(queue, 42, 0);
		receive_text(queue, 43, 0);
		_exit(0);
	}
	await_state(receiver, 'S');
	ds.msg_qbytes = 16384;
	MUST(msgctl(queue, IPC_SET, &ds));
	MUST(send_text(queue, 41, "not for you", 0));
	MUST(send_text(queue, 42, "for you", 0));
	await_state(receiver, 'S');
	sleep_ms(20);
	MUST(msgctl(queue, IPC_RMID, NULL));
	STATUS(end_of(receiver));
}

SECTION("messages: EINTR, also with SA_RESTART")
{
	int queue = MUST(msgget(IPC_PRIVATE, 0600));
	struct message message;
	pid_t pid = fork();

	if (pid == 0) {
		handle(SIGUSR1, ignore, SA_RESTART);
		ERR(msgrcv(queue, &message, 4, 0, 0));
		_exit(0);
	}
	await_state(pid, 'S');
	sleep_ms(20);
	kill(pid, SIGUSR1);
	STATUS(end_of(pid));
	msgctl(queue, IPC_RMID, NULL);
}

SECTION("shared memory: attach, share, count, detach, remove")
{
	int segment = MUST(shmget(IPC_PRIVATE, 10000, 0600));
	struct shmid_ds ds;
	char *a = shmat(segment, NULL, 0), *b = shmat(segment, NULL, SHM_RDONLY);

	SHOW(a != (void *)-1 && b != (void *)-1 && a != b);
	strcpy(a, "hello");
	TEXT(b);
	SHOW(a[9999] == 0 && a[12287] == 0);
	MUST(shmctl(segment, IPC_STAT, &ds));
	SHOW(ds.shm_segsz);
	SHOW(ds.shm_nattch);
	SHOW(ds.shm_perm.mode);
	SHOW(ds.shm_cpid == getpid() && ds.shm_lpid == getpid() && ds.shm_atime != 0 && ds.shm_dtime == 0);
	ERR(mprotect(b, 4096, PROT_READ | PROT_WRITE));
	pid_t pid = fork();
	if (pid == 0) {
		MUST(shmctl(segment, IPC_STAT, &ds));
		SHOW(ds.shm_nattch);
		strcpy(a, "from the child");
		_exit(0);
	}
	STATUS(end_of(pid));
	TEXT(b);
	ERR(shmdt(b));
	ERR(shmdt(b));
	ERR(shmdt(a + 4096));
	ERR(shmdt(a + 1));
	MUST(shmctl(segment, IPC_STAT, &ds));
	SHOW(ds.shm_nattch);
	ERR(shmctl(segment, IPC_RMID, NULL));
	MUST(shmctl(segment, IPC_STAT, &ds));
	HEX(ds.shm_perm.mode);
	SHOW(ds.shm_perm.__key);
	char *again = shmat(segment, NULL, 0);
	SHOW(again != (void *)-1);
	TEXT(again);
	ERR(shmdt(again));
	ERR(shmdt(a));
	ERR(shmctl(segment, IPC_STAT, &ds));
	SHOW(shmat(segment, NULL, 0) == (void *)-1);
}

SECTION("shared memory: places, SHM_RND, SHM_REMAP, partly unmapped")
{
	int segment = MUST(shmget(IPC_PRIVATE, 3 * 4096, 0600));
	char *room = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	SHOW(shmat(segment, room, 0) == (void *)-1);
	SHOW(errno == EINVAL);
	SHOW(shmat(segment, room + 1, SHM_REMAP) == (void *)-1);
	SHOW(shmat(segment, NULL, SHM_REMAP) == (void *)-1);
	SHOW((char *)shmat(segment, room + 4096 + 77, SHM_RND | SHM_REMAP) == room + 4096);
	strcpy(room + 2 * 4096, "second page");
	munmap(room, 8 * 4096);
	char *a = shmat(segment, room, 0);
	SHOW(a == room);
	TEXT(a + 4096);
	MUST(munmap(a + 4096, 4096));
	struct shmid_ds ds;
	MUST(shmctl(segment, IPC_STAT, &ds));
	SHOW(ds.shm_nattch);
	ERR(shmdt(a));
	unsigned char present;
	ERR(mincore(a, 4096, &present));
	ERR(mincore(a + 2 * 4096, 4096, &present));
	MUST(shmctl(segment, IPC_STAT, &ds));
	SHOW(ds.shm_nattch);
	/* exec and exit detach. */
	pid_t pid = fork();
	if (pid == 0) {
		shmat(segment, NULL, 0);
		execl("/bin/true", "true", NULL);
	}
	STATUS(end_of(pid));
	MUST(shmctl(segment, IPC_STAT, &ds));
	SHOW(ds.shm_nattch);
	SHOW(ds.shm_lpid == pid && ds.shm_dtime != 0);
	shmctl(segment, IPC_RMID, NULL);
}

SECTION("shared memory: an attachment of a removed segment is moved, and remapped")
{
	struct shmid_ds status;
	int id = MUST(shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0600));
	char *memory = shmat(id, NULL, 0), *moved;

	memory[0] = 'a';
	memory[4096] = 'b';
	ERR(shmctl(id, IPC_RMID, NULL));
	moved = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	moved = mremap(memory, 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, moved);
	say("%c%c\n", moved[0], moved[4096]);
	ERR(remap_file_pages(moved, 4096, 0, 1, 0));
	say("%c%c\n", moved[0], moved[4096]);
	ERR(shmctl(id, IPC_STAT, &status));
	ERR(shmdt(moved));
	ERR(munmap(moved, 8192));
	ERR(shmctl(id, IPC_STAT, &status));
}

SECTION("limits: IPC_INFO")
{
	struct seminfo sem;
	struct msginfo msg;
	struct shminfo shm;

	SHOW(semctl(0, 0, IPC_INFO, (union semun){ .info = &sem }) >= 0);
	SHOW(sem.semmsl);
	SHOW(sem.semvmx);
	SHOW(sem.semopm);
	SHOW(msgctl(0, IPC_INFO, (struct msqid_ds *)&msg) >= 0);
	SHOW(msg.msgmax);
	SHOW(msg.msgmnb);
	SHOW(shmctl(0, IPC_INFO, (struct shmid_ds *)&shm) >= 0);
	char *shown = read_file("/proc/sys/kernel/shmall");
	SHOW(strtoul(shown, NULL, 10) == shm.shmall);
	HEX(shm.shmmax);
	SHOW(shm.shmmin);
	SHOW(shm.shmmni);
}

static void ask_for(const char *kind, int id)
{
	char path[64], text[16];

	snprintf(path, sizeof path, "/proc/sys/kernel/%s_next_id", kind);
	snprintf(text, sizeof text, "%d", id);
	int fd = MUST(open(path, O_WRONLY));
	say("%s: ", kind);
	RET(write(fd, text, strlen(text)));
	close(fd);
}

SECTION("ids that are asked for")
{
	need_root();
	MUST(unshare(CLONE_NEWIPC));
	TEXT(read_file("/proc/sys/kernel/shm_next_id"));
	ask_for("shm", 5 * 32768 + 7);
	TEXT(read_file("/proc/sys/kernel/shm_next_id"));
	SHOW(shmget(IPC_PRIVATE, 4096, 0600));
	TEXT(read_file("/proc/sys/kernel/shm_next_id"));
	ask_for("shm", 6 * 32768 + 7);
	SHOW(shmget(IPC_PRIVATE, 4096, 0600));
	SHOW(shmget(IPC_PRIVATE, 4096, 0600));
	ask_for("msg", 12345);
	SHOW(msgget(77, IPC_CREAT | 0600));
	SHOW(msgget(77, 0));
	ask_for("sem", 3);
	SHOW(semget(IPC_PRIVATE, 1, 0600));
	ask_for("sem", -1);
	ask_for("sem", -2);
}

SECTION("/proc/sysvipc shows what there is")
{
	int set = MUST(semget(0x11223344, 7, IPC_CREAT | 0640));
	char wanted[64];

	snprintf(wanted, sizeof wanted, "%10d %10d  %4o %10d", 0x11223344, set, 0640, 7);
	SHOW(strstr(read_file("/proc/sysvipc/sem"), wanted) != NULL);
	semctl(set, 0, IPC_RMID);
	SHOW(strstr(read_file("/proc/sysvipc/sem"), wanted) == NULL);
}
