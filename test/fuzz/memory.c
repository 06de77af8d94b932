/*
 * Address spaces changed by several threads at once, in all ways, with userfaultfd(2) and files behind them; and structures
 * that change while the kernel reads them: vectors, messages, paths, times, sets of descriptors.
 */
#include "fuzz.h"
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define AREA (256 * PAGE)
#define SHARED (16 * PAGE)

/* `area` is what is mapped and unmapped; `shared` stays, and changes under the kernel's eyes. */
static char *area;
static uint64_t *shared;
static int file, memory, faults, sockets[2], pipes[2];

static void begin(uint64_t *state)
{
	(void)state;
	/* What lies behind it is the program's own. */
	area = mmap(NULL, AREA + 32 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	shared = mmap(NULL, SHARED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mkdir("/tmp/fuzz", 0777);
	mkdir("/tmp/fuzz/d", 0777);
	file = open("/tmp/fuzz/memory", O_RDWR | O_CREAT, 0644);
	ftruncate(file, 64 * PAGE);
	memory = memfd_create("fuzz", MFD_ALLOW_SEALING);
	ftruncate(memory, 64 * PAGE);
	socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, sockets);
	pipe2(pipes, O_NONBLOCK);
	faults = syscall(SYS_userfaultfd, O_NONBLOCK);
	ioctl(faults, UFFDIO_API, &(struct uffdio_api){ .api = UFFD_API });
}

static void *page(uint64_t *state)
{
	return area + below(state, AREA / PAGE) * PAGE;
}

static size_t length(uint64_t *state)
{
	if (one_in(state, 300))
		return number(state);
	return (1 + below(state, 20)) * PAGE - (one_in(state, 10) ? below(state, PAGE) : 0);
}

static void fault(uint64_t *state)
{
	uint64_t argument[8] = { (uintptr_t)page(state), length(state), one_in(state, 4) ? number(state) : 1 + below(state, 7), below(state, 4) };
	static const unsigned long requests[] = { UFFDIO_REGISTER, UFFDIO_REGISTER, UFFDIO_UNREGISTER, UFFDIO_WAKE, UFFDIO_ZEROPAGE, UFFDIO_WRITEPROTECT, UFFDIO_CONTINUE };

	if (one_in(state, 3)) {
		struct uffdio_copy copy = { (uintptr_t)page(state), (uintptr_t)(one_in(state, 2) ? (void *)shared : page(state)), PAGE * (1 + below(state, 4)),
					    below(state, 3), 0 };

		ioctl(faults, UFFDIO_COPY, &copy);
		return;
	}
	ioctl(faults, requests[below(state, LENGTH(requests))], argument);
	if (one_in(state, 4)) {
		close(faults);
		faults = syscall(SYS_userfaultfd, O_NONBLOCK);
		ioctl(faults, UFFDIO_API, &(struct uffdio_api){ .api = UFFD_API, .features = one_in(state, 2) ? number(state) : 0 });
	}
	read(faults, shared, 512);
}

static void change(uint64_t *state)
{
	static const int kinds[] = { MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED | MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN };
	int kind = kinds[below(state, LENGTH(kinds))], rights = below(state, 8);
	void *at = page(state);

	switch (below(state, 16)) {
	case 0:
	case 1:
	case 2:
		mmap(at, (1 + below(state, 20)) * PAGE, rights, kind | MAP_FIXED | (one_in(state, 8) ? 1 << below(state, 20) & ~MAP_HUGETLB : 0),
		     one_in(state, 2) ? file : memory, below(state, 70) * PAGE);
		break;
	case 3:
		munmap(at, (1 + below(state, 8)) * PAGE);
		break;
	case 4:
	case 5:
		mprotect(at, length(state), one_in(state, 20) ? (int)number(state) : rights);
		break;
	case 6:
		mremap(at, length(state), length(state) % AREA, (int)below(state, 8), page(state));
		break;
	case 7:
	case 8:
		madvise(at, length(state), one_in(state, 20) ? (int)number(state) : (int)below(state, 26));
		break;
	case 9:
		syscall(SYS_mincore, at, length(state), shared);
		break;
	case 10:
		one_in(state, 2) ? mlock(at, length(state)) : munlock(at, length(state));
		break;
	case 11:
		msync(at, length(state), (int)below(state, 8));
		break;
	case 12:
		syscall(SYS_remap_file_pages, at, length(state), 0, below(state, 20), 0);
		break;
	case 13:
		ftruncate(one_in(state, 2) ? file : memory, below(state, 64 * PAGE));
		break;
	case 14: {
		int id = shmget(IPC_PRIVATE, (1 + below(state, 8)) * PAGE, IPC_CREAT | 0600);
		void *attached = shmat(id, one_in(state, 2) ? at : NULL, one_in(state, 2) ? SHM_REMAP : 0);

		shmctl(id, IPC_RMID, NULL);
		if (one_in(state, 2))
			shmdt(attached);
		break;
	}
	default:
		fault(state);
	}
}

/* A place in what changes, or at an end of something. */
static void *place(uint64_t *state)
{
	if (one_in(state, 4))
		return (char *)page(state) + PAGE - below(state, 32);
	return shared + below(state, SHARED / 8 - 64);
}

static void use(uint64_t *state)
{
	struct iovec *vector = place(state);
	void *at = place(state);

	switch (below(state, 20)) {
	case 0:
		syscall(SYS_readv, file, vector, below(state, 20));
		break;
	case 1:
		syscall(SYS_pwritev, file, vector, below(state, 20), below(state, PAGE), 0);
		break;
	case 2:
		syscall(SYS_sendmsg, sockets[0], at, MSG_DONTWAIT);
		break;
	case 3:
		syscall(SYS_recvmsg, sockets[1], at, MSG_DONTWAIT);
		break;
	case 4:
		syscall(SYS_sendmmsg, sockets[0], at, below(state, 5), MSG_DONTWAIT);
		break;
	case 5:
		syscall(SYS_recvmmsg, sockets[1], at, below(state, 5), MSG_DONTWAIT, 0);
		break;
	case 6:
		syscall(SYS_openat, AT_FDCWD, at, O_RDONLY | O_CREAT | O_PATH, 0600);
		break;
	case 7:
		syscall(SYS_ppoll, at, below(state, 20), shared, at, 8);
		break;
	case 8:
		syscall(SYS_pselect6, below(state, 70), at, place(state), place(state), place(state), at);
		break;
	case 9:
		syscall(SYS_process_vm_readv, getpid(), vector, below(state, 8), place(state), below(state, 8), 0);
		break;
	case 10:
		syscall(SYS_process_vm_writev, getpid(), vector, below(state, 8), place(state), below(state, 8), 0);
		break;
	case 11:
		syscall(SYS_vmsplice, pipes[1], vector, below(state, 8), SPLICE_F_NONBLOCK);
		break;
	case 12:
		syscall(SYS_preadv2, memory, vector, below(state, 8), below(state, PAGE), 0, RWF_NOWAIT);
		break;
	case 13:
		syscall(SYS_futex, at, below(state, 14) | (one_in(state, 2) ? 128 : 0), (int)number(state), shared, place(state), number(state));
		break;
	case 14:
		syscall(SYS_clone3, at, 8 * below(state, 12));
		break;
	case 15:
		syscall(SYS_rt_sigprocmask, below(state, 3), place(state), at, 8);
		break;
	case 16:
		syscall(SYS_process_madvise, syscall(SYS_pidfd_open, getpid(), 0), vector, below(state, 8), below(state, 26), 0);
		break;
	case 17:
		read(file, page(state), length(state));
		break;
	case 18:
		write(memory, page(state), length(state));
		break;
	default:
		syscall(SYS_getdents64, open("/tmp/fuzz", O_RDONLY), at, 300);
	}
	/* What opens descriptors here closes them too. */
	syscall(SYS_close_range, 16, ~0u, 0);
}

/* Beside: words that a moment ago were something else. */
static void flip(uint64_t *state)
{
	for (;;) {
		uint64_t *at = shared + below(state, SHARED / 8);

		for (int i = 0; i < 50; i++) {
			*at = (uintptr_t)page(state);
			*at = number(state);
			*at = (uintptr_t)(shared + below(state, SHARED / 8));
			*at = below(state, PAGE);
		}
		if (one_in(state, 8))
			memcpy(shared + below(state, SHARED / 8 - 8), "/tmp/fuzz/d/../d/x", 19);
		if (one_in(state, 4))
			change(state);
	}
}

static void step(uint64_t *state)
{
	if (one_in(state, 2))
		change(state);
	else
		use(state);
}

int main(int argc, char **argv)
{
	static const struct fuzzer fuzzer = { begin, step, flip };

	return run_fuzzer(argc, argv, &fuzzer);
}
