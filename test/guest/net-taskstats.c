/* TASKSTATS over generic netlink: what a process has used, by its id and when it ends. */
#include "observe.h"
#include <linux/acct.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/taskstats.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static char answer[16384];
static int answer_length;

static int open_generic(void)
{
	int fd = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC));
	struct timeval limit = { .tv_sec = 3 };

	MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
	return fd;
}

static int receive(int fd)
{
	answer_length = recv(fd, answer, sizeof answer, 0);
	if (answer_length < 0)
		return -errno;
	struct nlmsghdr *header = (struct nlmsghdr *)answer;
	if (header->nlmsg_type == NLMSG_ERROR)
		return ((struct nlmsgerr *)NLMSG_DATA(header))->error;
	return 0;
}

/* One attribute. */
static int ask(int fd, int family, int command, int flags, int type, const void *value, int length)
{
	struct {
		struct nlmsghdr header;
		struct genlmsghdr generic;
		char attributes[512];
	} message = { .header = { .nlmsg_type = family, .nlmsg_flags = NLM_F_REQUEST | flags },
		      .generic = { .cmd = command, .version = 1 } };
	struct nlattr *attribute = (struct nlattr *)message.attributes;

	attribute->nla_type = type;
	attribute->nla_len = NLA_HDRLEN + length;
	memcpy(attribute + 1, value, length);
	message.header.nlmsg_len = NLMSG_HDRLEN + GENL_HDRLEN + (type ? NLA_ALIGN(attribute->nla_len) : 0);
	MUST(send(fd, &message, message.header.nlmsg_len, 0));
	return receive(fd);
}

static void *find(char *at, int length, int type)
{
	for (struct nlattr *each = (struct nlattr *)at; (char *)each - at + NLA_HDRLEN <= length;
	     each = (struct nlattr *)((char *)each + NLA_ALIGN(each->nla_len))) {
		if ((each->nla_type & NLA_TYPE_MASK) == type)
			return each;
		if (each->nla_len < NLA_HDRLEN)
			break;
	}
	return NULL;
}

static void *value(void *attribute)
{
	return (char *)attribute + NLA_HDRLEN;
}

static struct nlattr *attribute(int type)
{
	return find((char *)NLMSG_DATA(answer) + GENL_HDRLEN,
		    ((struct nlmsghdr *)answer)->nlmsg_len - NLMSG_HDRLEN - GENL_HDRLEN, type);
}

static int family(int fd)
{
	MUST(ask(fd, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 0, CTRL_ATTR_FAMILY_NAME, "TASKSTATS", 10));
	return *(unsigned short *)value(attribute(CTRL_ATTR_FAMILY_ID));
}

static struct taskstats *stats(int aggregate, int id_type, int *id)
{
	struct nlattr *outer = attribute(aggregate);

	if (!outer)
		return NULL;
	struct nlattr *inner = find(value(outer), outer->nla_len - NLA_HDRLEN, id_type);
	struct nlattr *values = find(value(outer), outer->nla_len - NLA_HDRLEN, TASKSTATS_TYPE_STATS);
	*id = inner ? *(int *)value(inner) : -1;
	return values && values->nla_len - NLA_HDRLEN >= (int)sizeof(struct taskstats) ? value(values) : NULL;
}

/** However many others want the CPUs. */
static void work(void)
{
	struct timespec used;

	do
		MUST(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used));
	while (used.tv_sec == 0 && used.tv_nsec < 70000000);
}

SECTION("the family, and what it refuses")
{
	need_root();
	int fd = open_generic(), id = family(fd), pid = getpid(), none = 4194000;

	SHOW(id > GENL_ID_CTRL);
	SHOW(*(int *)value(attribute(CTRL_ATTR_VERSION)));
	SHOW(*(int *)value(attribute(CTRL_ATTR_HDRSIZE)));
	NUMBERED(ask(fd, id, TASKSTATS_CMD_GET, 0, 0, "", 0));
	NUMBERED(ask(fd, id, TASKSTATS_CMD_GET, 0, TASKSTATS_CMD_ATTR_PID, &none, 4));
	NUMBERED(ask(fd, id, TASKSTATS_CMD_GET, 0, TASKSTATS_CMD_ATTR_TGID, &none, 4));
	NUMBERED(ask(fd, id, TASKSTATS_CMD_GET, 0, TASKSTATS_CMD_ATTR_PID, &pid, 2));
	NUMBERED(ask(fd, id, TASKSTATS_CMD_NEW, 0, TASKSTATS_CMD_ATTR_PID, &pid, 4));
	NUMBERED(ask(fd, id, TASKSTATS_CMD_GET, NLM_F_DUMP, TASKSTATS_CMD_ATTR_PID, &pid, 4));
	NUMBERED(ask(fd, id, TASKSTATS_CMD_GET, 0, TASKSTATS_CMD_ATTR_REGISTER_CPUMASK, "x", 2));
	NUMBERED(ask(fd, id, TASKSTATS_CMD_GET, 0, TASKSTATS_CMD_ATTR_REGISTER_CPUMASK, "", 0));
	NUMBERED(ask(fd, id, TASKSTATS_CMD_GET, 0, TASKSTATS_CMD_ATTR_PID, &pid, 4));
	MUST(setresuid(1000, 1000, 1000));
	NUMBERED(ask(fd, id, TASKSTATS_CMD_GET, 0, TASKSTATS_CMD_ATTR_PID, &pid, 4));
}

SECTION("a thread and a process by their ids")
{
	need_root();
	int fd = open_generic(), id = family(fd), pid = getpid(), told;
	struct timespec now;

	MUST(prctl(PR_SET_NAME, "measured"));
	work();
	int null = MUST(open("/dev/null", O_WRONLY));
	for (int i = 0; i < 1100; i++)
		MUST(write(null, "0123456789", 10));
	NUMBERED(ask(fd, id, TASKSTATS_CMD_GET, 0, TASKSTATS_CMD_ATTR_PID, &pid, 4));
	SHOW(((struct genlmsghdr *)NLMSG_DATA(answer))->cmd);
	SHOW(attribute(TASKSTATS_TYPE_AGGR_TGID) == NULL);
	struct taskstats *seen = stats(TASKSTATS_TYPE_AGGR_PID, TASKSTATS_TYPE_PID, &told);
	SHOW(told == pid);
	SHOW(seen->version >= 13);
	TEXT(seen->ac_comm);
	SHOW(seen->ac_pid == (unsigned)pid);
	SHOW(seen->ac_tgid == (unsigned)pid);
	SHOW(seen->ac_ppid == (unsigned)getppid());
	SHOW(seen->ac_uid);
	SHOW(seen->ac_nice);
	SHOW(seen->ac_sched);
	SHOW(seen->ac_exitcode);
	SHOW((seen->ac_flag & AFORK) != 0);
	SHOW(seen->ac_utime + seen->ac_stime >= 40000);
	SHOW(seen->cpu_run_real_total >= 40000000);
	SHOW(seen->ac_etime >= 60000);
	clock_gettime(CLOCK_REALTIME, &now);
	SHOW(now.tv_sec - (long)seen->ac_btime64 <= 15 && seen->ac_btime == seen->ac_btime64);
	SHOW(seen->write_char);
	SHOW(seen->write_syscalls);
	SHOW(seen->hiwater_rss > 0 && seen->hiwater_vm >= seen->hiwater_rss);
	SHOW(seen->ac_minflt > 0);
	SHOW(seen->ac_exe_inode != 0);

	NUMBERED(ask(fd, id, TASKSTATS_CMD_GET, 0, TASKSTATS_CMD_ATTR_TGID, &pid, 4));
	SHOW(attribute(TASKSTATS_TYPE_AGGR_PID) == NULL);
	seen = stats(TASKSTATS_TYPE_AGGR_TGID, TASKSTATS_TYPE_TGID, &told);
	SHOW(told == pid);
	SHOW(seen->ac_utime + seen->ac_stime >= 40000);
	SHOW(seen->ac_pid);
	SHOW(seen->ac_comm[0]);
}

static void *thread_work(void *argument)
{
	(void)argument;
	work();
	return NULL;
}

SECTION("those who have registered are told of ends")
{
	need_root();
	int fd = open_generic(), id = family(fd), told, status;
	char all[32];

	snprintf(all, sizeof all, "0-%ld", sysconf(_SC_NPROCESSORS_CONF) - 1);
	NUMBERED(ask(fd, id, TASKSTATS_CMD_GET, NLM_F_ACK, TASKSTATS_CMD_ATTR_REGISTER_CPUMASK, all,
		     strlen(all) + 1));
	pid_t pid = MUST(fork());
	if (pid == 0) {
		pthread_t thread;

		prctl(PR_SET_NAME, "ending");
		MUST(pthread_create(&thread, NULL, thread_work, NULL));
		pthread_join(thread, NULL);
		_exit(7);
	}
	MUST(waitpid(pid, &status, 0));
	/* Others may end meanwhile. */
	for (int seen = 0; seen < 2;) {
		MUST(receive(fd));
		struct taskstats *task = stats(TASKSTATS_TYPE_AGGR_PID, TASKSTATS_TYPE_PID, &told);
		if (task->ac_tgid != (unsigned)pid)
			continue;
		seen++;
		SHOW(told == pid);
		SHOW(((struct nlmsghdr *)answer)->nlmsg_pid);
		TEXT(task->ac_comm);
		SHOW(task->ac_exitcode);
		SHOW((task->ac_flag & AGROUP) != 0);
		SHOW((task->ac_flag & AXSIG) != 0);
		struct taskstats *whole = stats(TASKSTATS_TYPE_AGGR_TGID, TASKSTATS_TYPE_TGID, &told);
		SHOW(whole != NULL);
		if (whole) {
			SHOW(told == pid);
			SHOW(whole->ac_utime + whole->ac_stime >= 40000);
		}
	}
	pid = MUST(fork());
	if (pid == 0)
		pause();
	MUST(kill(pid, SIGKILL));
	MUST(waitpid(pid, &status, 0));
	for (;;) {
		MUST(receive(fd));
		struct taskstats *task = stats(TASKSTATS_TYPE_AGGR_PID, TASKSTATS_TYPE_PID, &told);
		if (task->ac_tgid != (unsigned)pid)
			continue;
		SHOW(task->ac_exitcode);
		SHOW((task->ac_flag & AXSIG) != 0);
		SHOW(stats(TASKSTATS_TYPE_AGGR_TGID, TASKSTATS_TYPE_TGID, &told) == NULL);
		break;
	}
	NUMBERED(ask(fd, id, TASKSTATS_CMD_GET, NLM_F_ACK, TASKSTATS_CMD_ATTR_DEREGISTER_CPUMASK, all,
		     strlen(all) + 1));
	MUST(unshare(CLONE_NEWPID));
	pid = MUST(fork());
	if (pid == 0) {
		NUMBERED(ask(fd, id, TASKSTATS_CMD_GET, NLM_F_ACK, TASKSTATS_CMD_ATTR_REGISTER_CPUMASK, "0", 2));
		_exit(0);
	}
	MUST(waitpid(pid, &status, 0));
}
