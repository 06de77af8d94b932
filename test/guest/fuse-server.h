/*
 * A file system in memory behind /dev/fuse, for fuse.c: a child that speaks the protocol itself, so that what is sent
 * and answered is the program's to choose. What both processes know is in `shared`.
 */
#ifndef FUSE_SERVER_H
#define FUSE_SERVER_H

#include "observe.h"
#include <linux/fuse.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#define NODES 64
#define NAME 64
#define DATA 65536

#define LOCKS 16

/* ioctl(2) on a file: the server gives its first byte another value, behind the kernel's back. */
#define SERVER_CHANGES _IO('f', 1)
/* And the file another time of change. */
#define SERVER_MODIFIES _IO('f', 2)
/* And says so: FUSE_NOTIFY_INVAL_INODE. */
#define SERVER_NOTIFIES _IO('f', 3)
/* And says that there is something to be polled: FUSE_NOTIFY_POLL, if it was asked to. */
#define SERVER_WAKES _IO('f', 4)
/* And gives the kernel bytes of the file, all 'T': FUSE_NOTIFY_STORE. By itself it is the second page. */
#define SERVER_STORES _IO('f', 5)
/* And wants to know what the kernel has of the first four: FUSE_NOTIFY_RETRIEVE. */
#define SERVER_RETRIEVES _IO('f', 6)

struct shared {
	/* How long names and attributes are believed, in seconds. */
	unsigned name_valid, attr_valid;
	/* FOPEN_* for every open. */
	unsigned open_flags;
	/* What INIT's answer says. */
	unsigned init_flags, max_write;
	/* An opcode that fails, and with what. */
	unsigned fail_opcode;
	int fail_error;
	/* An opcode that is answered only when INTERRUPT comes, with EINTR; 1 while one waits so. */
	unsigned hold_opcode;
	volatile int held;
	/* A message that was not understood. */
	volatile int unknown;
	/* How often each opcode came. */
	volatile unsigned count[64];
	/* Of the last request. */
	volatile unsigned uid, gid;
	volatile pid_t pid;
	volatile unsigned write_size, read_size;
	/* Of the last lock that was asked for. */
	volatile uint64_t lock_start, lock_end;
	volatile unsigned lock_flags, lock_pid;
	/* Whether there is POLL; what it says; and what was asked last. */
	volatile unsigned polls, revents, poll_flags, poll_events;
	volatile uint64_t poll_number;
	/* What FUSE_NOTIFY_RETRIEVE has brought; 1 when it has. */
	volatile unsigned retrieved, retrieved_size, retrieved_sum;
	volatile uint64_t retrieved_offset, retrieved_unique;
	/* What SERVER_STORES gives in place of the second page, if it is anything. */
	volatile unsigned store_offset, store_size;
	/* Of the last CREATE or TMPFILE, and SETXATTR. */
	volatile unsigned create_flags, create_mode, setxattr_flags;
	/* Of the last OPEN. */
	volatile unsigned opened_with;
	/* Whether numbers of links are all 0. An opcode that takes a moment. */
	unsigned no_links, slow_opcode;
	/* An opcode that is answered when nothing else has come for a while; whether a RELEASE came before. */
	unsigned late_opcode;
	volatile int late, released_early;
	/* The sum of what FORGET gave back, and had given back when a file was released first. */
	volatile unsigned forgotten, forgotten_before_release;
};

struct node {
	unsigned parent;
	char name[NAME];
	mode_t mode;
	unsigned uid, gid, nlink;
	time_t mtime;
	char *data;
	size_t size;
	unsigned same; /* A hard link: the node that has the data. */
	char xattr[NAME];
	/* Access control lists: of access, and what is inherited. */
	char acl[2][128];
	unsigned acl_size[2];
};

/* As need_root, where the host's kernel has FUSE and lets us use it. */
static void need_fuse(void)
{
	need_root();
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		say("needs /dev/fuse\n");
		_exit(0);
	}
	close(fd);
}

struct lock {
	unsigned node, flags;
	uint64_t owner;
	struct fuse_file_lock lock;
	/* A request that waits for it: its number. */
	uint64_t waiting;
};

/* Of INIT's answer, set before start(). */
static unsigned more_init_flags;
static struct shared *shared;
static struct node nodes[NODES];
/* Those with a node are in use. */
static struct lock locks[LOCKS];
static int device;

static void answer(uint64_t unique, int error, const void *data, size_t size)
{
	struct fuse_out_header out = { sizeof out + (error ? 0 : size), -error, unique };
	struct iovec iov[] = { { &out, sizeof out }, { (void *)data, error ? 0 : size } };

	if (writev(device, iov, 2) != (ssize_t)out.len && errno != ENOENT)
		_exit(97);
}

static struct node *real(unsigned id)
{
	return &nodes[nodes[id].same ? nodes[id].same : id];
}

static unsigned find(unsigned parent, const char *name)
{
	for (unsigned id = 2; id < NODES; id++)
		if (nodes[id].parent == parent && strcmp(nodes[id].name, name) == 0)
			return id;
	return 0;
}

static unsigned make(unsigned parent, const char *name, mode_t mode, const struct fuse_in_header *in)
{
	for (unsigned id = 2; id < NODES; id++) {
		struct node *node = &nodes[id];

		if (node->mode)
			continue;
		*node = (struct node){ .parent = parent, .mode = mode, .uid = in->uid, .gid = in->gid, .mtime = 1000 };
		node->nlink = S_ISDIR(mode) ? 2 : 1;
		strcpy(node->name, name);
		if (S_ISREG(mode))
			node->data = calloc(1, DATA);
		return id;
	}
	_exit(98);
}

static struct fuse_attr attributes(unsigned id)
{
	struct node *node = real(id);

	return (struct fuse_attr){ .ino = (nodes[id].same ? nodes[id].same : id) + 100, .size = node->size,
		.blocks = (node->size + 511) / 512, .mode = node->mode, .nlink = shared->no_links ? 0 : node->nlink, .uid = node->uid,
		.gid = node->gid, .mtime = node->mtime, .ctime = 2000, .atime = 3000, .blksize = 4096 };
}

static struct fuse_entry_out entry(unsigned id)
{
	return (struct fuse_entry_out){ .nodeid = nodes[id].same ? nodes[id].same : id, .entry_valid = shared->name_valid,
		.attr_valid = shared->attr_valid, .attr = attributes(id) };
}

static void answer_entry(uint64_t unique, unsigned id)
{
	struct fuse_entry_out out = entry(id);

	answer(unique, 0, &out, sizeof out);
}

static void answer_attr(uint64_t unique, unsigned id)
{
	struct fuse_attr_out out = { .attr_valid = shared->attr_valid, .attr = attributes(id) };

	answer(unique, 0, &out, sizeof out);
}

static void list(uint64_t unique, unsigned dir, const struct fuse_read_in *in, bool plus)
{
	const size_t head = plus ? sizeof(struct fuse_entry_out) : 0;
	static char out[65536];
	size_t used = 0;

	for (unsigned id = in->offset; id < NODES; id++) {
		const char *name = id == 0 ? "." : id == 1 ? ".." : nodes[id].name;
		size_t length = strlen(name), size = head + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length);
		struct fuse_dirent *dirent = (struct fuse_dirent *)(out + used + head);

		if (id > 1 && (nodes[id].parent != dir || !nodes[id].mode))
			continue;
		if (used + size > in->size)
			break;
		memset(out + used, 0, size);
		if (plus && id > 1)
			*(struct fuse_entry_out *)(out + used) = entry(id);
		dirent->ino = id < 2 ? 101 : id + 100;
		dirent->off = id + 1;
		dirent->namelen = length;
		dirent->type = id < 2 ? DT_DIR : nodes[id].mode >> 12;
		memcpy(dirent->name, name, length);
		used += size;
	}
	answer(unique, 0, out, used);
}

static void remove_name(unsigned id)
{
	struct node *node = real(id);

	node->nlink -= S_ISDIR(node->mode) ? 2 : 1;
	nodes[id].parent = 0;
}

/* Which list an attribute is, or -1. */
static int acl_kind(const char *name)
{
	if (strcmp(name, "system.posix_acl_access") == 0)
		return 0;
	return strcmp(name, "system.posix_acl_default") == 0 ? 1 : -1;
}

static void set(struct node *node, const struct fuse_setattr_in *in)
{
	if (in->valid & FATTR_MODE)
		node->mode = (node->mode & S_IFMT) | (in->mode & 07777);
	if (in->valid & FATTR_UID)
		node->uid = in->uid;
	if (in->valid & FATTR_GID)
		node->gid = in->gid;
	if (in->valid & FATTR_MTIME)
		node->mtime = in->mtime;
	if (in->valid & FATTR_SIZE) {
		if (in->size > node->size)
			memset(node->data + node->size, 0, in->size - node->size);
		node->size = in->size;
	}
}

static struct lock *find_conflict(const struct lock *wanted)
{
	for (struct lock *at = locks; at < locks + LOCKS; at++)
		if (at->node == wanted->node && !at->waiting && at->flags == wanted->flags && at->owner != wanted->owner &&
		    at->lock.start <= wanted->lock.end && at->lock.end >= wanted->lock.start &&
		    (at->lock.type == F_WRLCK || wanted->lock.type == F_WRLCK))
			return at;
	return NULL;
}

static void grant_waiting(void)
{
	for (struct lock *at = locks; at < locks + LOCKS; at++)
		if (at->node && at->waiting && !find_conflict(at)) {
			answer(at->waiting, 0, NULL, 0);
			at->waiting = 0;
		}
}

/* Gives up what an owner has: all of it, however little is asked for. */
static void unlock(unsigned node, unsigned flags, uint64_t owner)
{
	for (struct lock *at = locks; at < locks + LOCKS; at++)
		if (at->node == node && at->flags == flags && at->owner == owner)
			at->node = 0;
	grant_waiting();
}

static void lock(uint64_t unique, unsigned node, unsigned opcode, const struct fuse_lk_in *in)
{
	struct lock wanted = { .node = node, .flags = in->lk_flags, .owner = in->owner, .lock = in->lk };
	struct lock *conflict = find_conflict(&wanted);
	struct fuse_lk_out out = { .lk = { .type = F_UNLCK } };

	shared->lock_start = in->lk.start;
	shared->lock_end = in->lk.end;
	shared->lock_flags = in->lk_flags;
	shared->lock_pid = in->lk.pid;
	if (opcode == FUSE_GETLK) {
		if (conflict)
			out.lk = conflict->lock;
		answer(unique, 0, &out, sizeof out);
		return;
	}
	if (in->lk.type == F_UNLCK) {
		unlock(node, in->lk_flags, in->owner);
	} else {
		struct lock *at = locks;

		if (conflict && opcode == FUSE_SETLK) {
			answer(unique, EAGAIN, NULL, 0);
			return;
		}
		while (at->node)
			at++;
		*at = wanted;
		if (conflict) {
			at->waiting = unique;
			shared->held = 1;
			return;
		}
	}
	answer(unique, 0, NULL, 0);
}

/* A request that waits for a lock is interrupted: whether there is one. */
static bool interrupt_lock(uint64_t unique)
{
	for (struct lock *at = locks; at < locks + LOCKS; at++)
		if (at->node && at->waiting == unique) {
			at->node = 0;
			answer(unique, EINTR, NULL, 0);
			return true;
		}
	return false;
}

/* What a server says by itself. */
static void notify(int code, const void *data, size_t size)
{
	struct fuse_out_header out = { sizeof out + size, code, 0 };
	struct iovec iov[] = { { &out, sizeof out }, { (void *)data, size } };

	if (writev(device, iov, 2) != (ssize_t)out.len && errno != ENOENT)
		_exit(95);
}

static void control(uint64_t unique, unsigned id, unsigned command)
{
	struct fuse_ioctl_out out = { 0 };
	struct fuse_notify_inval_inode_out changed = { .ino = id };

	if (command < SERVER_CHANGES || command > SERVER_RETRIEVES) {
		answer(unique, ENOTTY, NULL, 0);
		return;
	}
	if (command == SERVER_WAKES) {
		struct fuse_notify_poll_wakeup_out wakeup = { .kh = shared->poll_number };

		shared->revents = POLLIN;
		notify(FUSE_NOTIFY_POLL, &wakeup, sizeof wakeup);
		answer(unique, 0, &out, sizeof out);
		return;
	}
	if (command == SERVER_STORES) {
		struct {
			struct fuse_notify_store_out out;
			char bytes[4096];
		} store = { .out = { .nodeid = id, .offset = 4096, .size = 4096 } };

		if (shared->store_size) {
			store.out.offset = shared->store_offset;
			store.out.size = shared->store_size;
		}
		memset(store.bytes, 'T', sizeof store.bytes);
		notify(FUSE_NOTIFY_STORE, &store, sizeof store.out + store.out.size);
		answer(unique, 0, &out, sizeof out);
		return;
	}
	if (command == SERVER_RETRIEVES) {
		struct fuse_notify_retrieve_out retrieve = { .notify_unique = 4711, .nodeid = id, .size = 16384 };

		notify(FUSE_NOTIFY_RETRIEVE, &retrieve, sizeof retrieve);
		answer(unique, 0, &out, sizeof out);
		return;
	}
	real(id)->data[0] = 'S';
	if (command == SERVER_MODIFIES)
		real(id)->mtime++;
	if (command == SERVER_NOTIFIES)
		notify(FUSE_NOTIFY_INVAL_INODE, &changed, sizeof changed);
	answer(unique, 0, &out, sizeof out);
}

static void serve_one(struct fuse_in_header *in, void *body)
{
	const uint64_t unique = in->unique;
	const unsigned id = in->nodeid;
	struct node *node = real(id);
	unsigned found;

	switch (in->opcode) {
	case FUSE_LOOKUP:
		found = find(id, body);
		if (found)
			answer_entry(unique, found);
		else
			answer(unique, ENOENT, NULL, 0);
		break;
	case FUSE_FORGET:
		shared->forgotten += ((struct fuse_forget_in *)body)->nlookup;
		break;
	case FUSE_BATCH_FORGET: {
		struct fuse_batch_forget_in *batch = body;
		struct fuse_forget_one *one = (void *)(batch + 1);

		for (unsigned i = 0; i < batch->count; i++)
			shared->forgotten += one[i].nlookup;
		break;
	}
	case FUSE_GETATTR:
		answer_attr(unique, id);
		break;
	case FUSE_SETATTR:
		set(node, body);
		answer_attr(unique, id);
		break;
	case FUSE_READLINK:
		answer(unique, 0, node->data, strlen(node->data));
		break;
	case FUSE_SYMLINK: {
		const char *name = body, *target = name + strlen(name) + 1;

		found = make(id, name, S_IFLNK | 0777, in);
		nodes[found].data = strdup(target);
		nodes[found].size = strlen(target);
		answer_entry(unique, found);
		break;
	}
	case FUSE_MKNOD: {
		struct fuse_mknod_in *args = body;

		answer_entry(unique, make(id, (char *)(args + 1), args->mode, in));
		break;
	}
	case FUSE_MKDIR: {
		struct fuse_mkdir_in *args = body;

		answer_entry(unique, make(id, (char *)(args + 1), S_IFDIR | args->mode, in));
		break;
	}
	case FUSE_TMPFILE:
	case FUSE_CREATE: {
		struct fuse_create_in *args = body;
		struct {
			struct fuse_entry_out entry;
			struct fuse_open_out open;
		} out = { entry(make(id, (char *)(args + 1), args->mode, in)), { .open_flags = shared->open_flags } };

		shared->create_flags = args->flags;
		shared->create_mode = args->mode;
		if (in->opcode == FUSE_TMPFILE) {
			nodes[out.entry.nodeid].parent = nodes[out.entry.nodeid].nlink = 0;
			out.entry.attr.nlink = 0;
		}
		answer(unique, 0, &out, sizeof out);
		break;
	}
	case FUSE_UNLINK:
	case FUSE_RMDIR:
		found = find(id, body);
		if (in->opcode == FUSE_RMDIR)
			for (unsigned i = 2; i < NODES; i++)
				if (nodes[i].mode && nodes[i].parent == found) {
					answer(unique, ENOTEMPTY, NULL, 0);
					return;
				}
		remove_name(found);
		answer(unique, 0, NULL, 0);
		break;
	case FUSE_RENAME:
	case FUSE_RENAME2: {
		const bool second = in->opcode == FUSE_RENAME2;
		const uint64_t to = *(uint64_t *)body;
		const char *name = (char *)body + (second ? sizeof(struct fuse_rename2_in) : sizeof(struct fuse_rename_in));
		const char *other = name + strlen(name) + 1;
		unsigned from = find(id, name), replaced = find(to, other);

		if (second && ((struct fuse_rename2_in *)body)->flags == RENAME_EXCHANGE) {
			strcpy(nodes[replaced].name, name);
			nodes[replaced].parent = id;
		} else if (replaced)
			remove_name(replaced);
		strcpy(nodes[from].name, other);
		nodes[from].parent = to;
		answer(unique, 0, NULL, 0);
		break;
	}
	case FUSE_LINK: {
		struct fuse_link_in *args = body;

		found = make(id, (char *)(args + 1), S_IFREG, in);
		nodes[found].same = args->oldnodeid;
		real(found)->nlink++;
		answer_entry(unique, found);
		break;
	}
	case FUSE_OPEN:
	case FUSE_OPENDIR: {
		if (in->opcode == FUSE_OPEN)
			shared->opened_with = ((struct fuse_open_in *)body)->flags;
		if (in->opcode == FUSE_OPEN && shared->opened_with & O_TRUNC)
			node->size = 0;
		struct fuse_open_out out = { .fh = 77, .open_flags = in->opcode == FUSE_OPEN ? shared->open_flags : 0 };

		answer(unique, 0, &out, sizeof out);
		break;
	}
	case FUSE_READ: {
		struct fuse_read_in *args = body;
		size_t left = args->offset < node->size ? node->size - args->offset : 0;

		shared->read_size = args->size;
		answer(unique, 0, node->data + args->offset, left < args->size ? left : args->size);
		break;
	}
	case FUSE_WRITE: {
		struct fuse_write_in *args = body;
		struct fuse_write_out out = { .size = args->size };

		shared->write_size = args->size;
		memcpy(node->data + args->offset, args + 1, args->size);
		if (args->offset + args->size > node->size)
			node->size = args->offset + args->size;
		answer(unique, 0, &out, sizeof out);
		break;
	}
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		list(unique, id, body, in->opcode == FUSE_READDIRPLUS);
		break;
	case FUSE_STATFS: {
		struct fuse_statfs_out out = { { .blocks = 1000, .bfree = 600, .bavail = 500, .files = 64, .ffree = 32,
			.bsize = 512, .namelen = NAME - 1, .frsize = 1024 } };

		answer(unique, 0, &out, sizeof out);
		break;
	}
	case FUSE_SETXATTR: {
		struct fuse_setxattr_in *args = body;
		const bool extended = shared->init_flags & FUSE_SETXATTR_EXT;
		const char *name = (char *)body + (extended ? sizeof *args : FUSE_COMPAT_SETXATTR_IN_SIZE);
		const int kind = acl_kind(name);

		shared->setxattr_flags = extended ? args->setxattr_flags : 0;
		if (kind >= 0) {
			node->acl_size[kind] = args->size;
			memcpy(node->acl[kind], name + strlen(name) + 1, args->size);
			answer(unique, 0, NULL, 0);
			break;
		}
		snprintf(node->xattr, NAME, "%.*s", (int)args->size, name + strlen(name) + 1);
		answer(unique, 0, NULL, 0);
		break;
	}
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR: {
		struct fuse_getxattr_in *args = body;
		const char *value = in->opcode == FUSE_GETXATTR ? node->xattr : "user.x";
		size_t size = in->opcode == FUSE_GETXATTR ? strlen(value) : *node->xattr ? 7 : 0;
		struct fuse_getxattr_out out = { .size = size };
		const int kind = in->opcode == FUSE_GETXATTR ? acl_kind((char *)(args + 1)) : -1;

		if (kind >= 0) {
			value = node->acl[kind];
			out.size = size = node->acl_size[kind];
		}
		if (kind >= 0 && size == 0)
			answer(unique, ENODATA, NULL, 0);
		else if (kind < 0 && in->opcode == FUSE_GETXATTR && (strcmp((char *)(args + 1), "user.x") != 0 || size == 0))
			answer(unique, ENODATA, NULL, 0);
		else if (args->size == 0)
			answer(unique, 0, &out, sizeof out);
		else
			answer(unique, args->size < size ? ERANGE : 0, value, size);
		break;
	}
	case FUSE_REMOVEXATTR:
		if (acl_kind(body) >= 0)
			node->acl_size[acl_kind(body)] = 0;
		else
			*node->xattr = 0;
		answer(unique, 0, NULL, 0);
		break;
	case FUSE_POLL: {
		struct fuse_poll_in *args = body;
		struct fuse_poll_out out = { .revents = shared->revents };

		if (!shared->polls) {
			answer(unique, ENOSYS, NULL, 0);
			break;
		}
		shared->poll_flags = args->flags;
		shared->poll_events = args->events;
		if (args->flags & FUSE_POLL_SCHEDULE_NOTIFY)
			shared->poll_number = args->kh;
		answer(unique, 0, &out, sizeof out);
		break;
	}
	case FUSE_NOTIFY_REPLY: {
		struct fuse_notify_retrieve_in *args = body;

		shared->retrieved_offset = args->offset;
		shared->retrieved_size = args->size;
		shared->retrieved_unique = unique;
		shared->retrieved_sum = 0;
		for (unsigned i = 0; i < args->size; i++)
			shared->retrieved_sum += ((unsigned char *)(args + 1))[i];
		shared->retrieved = 1;
		break;
	}
	case FUSE_IOCTL:
		control(unique, id, ((struct fuse_ioctl_in *)body)->cmd);
		break;
	case FUSE_GETLK:
	case FUSE_SETLK:
	case FUSE_SETLKW:
		lock(unique, id, in->opcode, body);
		break;
	case FUSE_FLUSH:
		unlock(id, 0, ((struct fuse_flush_in *)body)->lock_owner);
		answer(unique, 0, NULL, 0);
		break;
	case FUSE_RELEASE:
		if (((struct fuse_release_in *)body)->release_flags & FUSE_RELEASE_FLOCK_UNLOCK)
			unlock(id, FUSE_LK_FLOCK, ((struct fuse_release_in *)body)->lock_owner);
		answer(unique, 0, NULL, 0);
		break;
	case FUSE_RELEASEDIR:
	case FUSE_FSYNC:
		answer(unique, 0, NULL, 0);
		break;
	default:
		answer(unique, ENOSYS, NULL, 0);
	}
}

static void serve(void)
{
	static char buffer[1 << 18], kept[1 << 18];
	uint64_t waiting = 0;
	struct pollfd next = { .events = POLLIN };

	nodes[1] = (struct node){ .mode = S_IFDIR | 0755, .nlink = 2, .mtime = 1000 };
	for (;;) {
		next.fd = device;
		if (shared->late && poll(&next, 1, 100) == 0) {
			shared->late = 0;
			serve_one((void *)kept, kept + sizeof(struct fuse_in_header));
			continue;
		}
		ssize_t n = read(device, buffer, sizeof buffer);
		struct fuse_in_header *in = (void *)buffer;

		/* Unmounted; ECONNABORTED where a request, such as a RELEASE, was just being taken. */
		if (n < 0 && (errno == ENODEV || errno == ECONNABORTED))
			_exit(0);
		if (n < 0 && (errno == EINTR || errno == ENOENT))
			continue;
		if (n != in->len)
			_exit(n < 0 ? 100 + errno : 96);
		if (in->opcode == FUSE_RELEASE && !shared->count[FUSE_RELEASE])
			shared->forgotten_before_release = shared->forgotten;
		if (shared->late && (in->opcode == FUSE_RELEASE || in->opcode == FUSE_RELEASEDIR))
			shared->released_early = 1;
		if (in->opcode == shared->slow_opcode)
			usleep(50000);
		if (in->opcode < LENGTH(shared->count))
			shared->count[in->opcode]++;
		if (in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET && in->opcode != FUSE_RELEASE) {
			shared->uid = in->uid;
			shared->gid = in->gid;
			shared->pid = in->pid;
		}
		if (in->opcode == FUSE_INIT) {
			struct fuse_init_out out = { .major = 7, .minor = 31, .flags = shared->init_flags,
				.max_write = shared->max_write, .time_gran = 1, .max_pages = 32 };

			answer(in->unique, 0, &out, sizeof out);
		} else if (in->opcode == FUSE_INTERRUPT) {
			if (interrupt_lock(((struct fuse_interrupt_in *)(in + 1))->unique))
				continue;
			if (waiting == ((struct fuse_interrupt_in *)(in + 1))->unique)
				answer(waiting, EINTR, NULL, 0);
			waiting = 0;
		} else if (in->opcode == shared->late_opcode && !shared->late) {
			memcpy(kept, buffer, n);
			shared->late = 1;
		} else if (in->opcode == shared->hold_opcode) {
			waiting = in->unique;
			shared->held = 1;
		} else if (in->opcode == shared->fail_opcode)
			answer(in->unique, shared->fail_error, NULL, 0);
		else
			serve_one(in, in + 1);
	}
}

/* Mounts on `m`, with `options` behind the necessary ones; the server's pid. */
static pid_t start(const char *options)
{
	char text[256];

	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mkdir("m", 0755));
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	shared->name_valid = shared->attr_valid = 60;
	shared->init_flags = FUSE_BIG_WRITES | FUSE_MAX_PAGES | more_init_flags;
	shared->max_write = 65536;
	device = MUST(open("/dev/fuse", O_RDWR | O_CLOEXEC));
	snprintf(text, sizeof text, "fd=%d,rootmode=40755,user_id=%d,group_id=%d%s", device, getuid(), getgid(), options);
	MUST(mount("source", "m", "fuse.guest", MS_NOSUID | MS_NODEV, text));
	pid_t pid = MUST(fork());
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve();
	}
	close(device);
	return pid;
}

/* Unmounts, and waits for the server to notice. */
static void finish(pid_t pid)
{
	int status;

	ERR(umount("m"));
	MUST(waitpid(pid, &status, 0));
	STATUS(status);
}

#endif
