/* SPDX-License-Identifier: MIT */
/*
 * The test looks its own sockets up, and those of its children: this process is
 * the keeper of the tree. No privilege needed.
 *
 * LINK: src/owner.o src/owner_proc.o src/owner_ident.o src/owner_sockdiag.o src/owner_nobpf.o
 * LINK: src/base/addr.o
 * LINK: src/base/clock.o src/base/util.o src/base/log.o
 */
#include "owner_proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "lib_netns.h"
#include "owner_ident.h"
#include "owner_sockdiag.h"
#include "../lib/tap.h"

#define MANY 5000

static struct owner_proc *op;

static int sock(void)
{
	return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static uint32_t inode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : (uint32_t)st.st_ino;
}

static struct owner_want find(uint32_t inode)
{
	struct owner_want w = {.inode = inode, .uid = getuid()};

	owner_proc_find(op, &w, 1);
	return w;
}

static const struct owner *who(uint32_t inode)
{
	return owner_proc_get(op, find(inode).owner);
}

/* --- children that hold sockets and say so ------------------------------------------ */

struct child {
	pid_t pid;
	int in, out; /* its commands, its answers (inodes) */
};

/* 's': a socket, '?': no more but stay, 'e': exec a shell that stays, 'c': close fd 3.. */
static void child_main(int in, int out)
{
	char cmd;

	while (read(in, &cmd, 1) == 1) {
		uint32_t inode = 0;

		if (cmd == 's')
			inode = inode_of(socket(AF_INET, SOCK_DGRAM, 0));
		else if (cmd == 'e')
			execl("/bin/sh", "sh", "-c", "echo x; read line; exit 0", "the argument",
			      NULL);
		if (write(out, &inode, sizeof(inode)) < 0)
			break;
	}
	_exit(0);
}

static struct child child_new(void)
{
	int in[2], out[2];
	struct child c = {0};

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		exit(1);
	fflush(stdout);
	c.pid = fork();
	if (!c.pid) {
		close(in[1]);
		close(out[0]);
		dup2(out[1], 1);
		dup2(in[0], 0);
		child_main(0, 1);
	}
	close(in[0]);
	close(out[1]);
	c.in = in[1];
	c.out = out[0];
	return c;
}

static uint32_t child_do(struct child *c, char cmd)
{
	uint32_t inode = 0;

	if (write(c->in, &cmd, 1) != 1 || read(c->out, &inode, sizeof(inode)) < 1)
		return 0;
	return inode;
}

static void child_end(struct child *c)
{
	kill(c->pid, SIGKILL); /* its sisters may hold the other end of its pipe */
	waitpid(c->pid, NULL, 0);
	close(c->in);
	close(c->out);
}

/* --- cases ------------------------------------------------------------------------------ */

static void self_case(void)
{
	int fd = sock();
	const struct owner *o = who(inode_of(fd));
	struct owner_want none = find(0);
	char exe[256] = "";
	uint32_t id = o ? o->id : 0;

	tap_ok(o != NULL, "our own socket");
	if (!o)
		return;
	tap_is(o->pid, getpid(), "pid");
	tap_is(o->uid, geteuid(), "uid");
	tap_is(o->gid, getegid(), "gid");
	tap_ok(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0 && !strcmp(o->exe, exe), "exe");
	tap_ok(!strcmp(o->comm, "owner_proc_test"), "comm: %s", o->comm);
	tap_ok(strstr(o->cmdline, "owner_proc_test") && strstr(o->cmdline, " "), "cmdline: %s",
	       o->cmdline);
	tap_ok(o->cgroup[0] == '/', "cgroup: %s", o->cgroup);
	tap_ok(o->start_ns > 0 && o->start_ns <= clock_mono_ns() * 2, "start");
	tap_ok(o->parents_len > 0 && o->parents[0].pid == getppid(), "nearest parent first");
	tap_ok(o->parents_len < 2 || o->parents[1].pid != o->parents[0].pid, "then another");
	tap_is(find(inode_of(fd)).owner, id, "asked again: the same owner");
	close(fd);
	tap_is(none.why, OWNER_NO_PROCESS, "no inode, no process");
	tap_is(find(inode_of(STDIN_FILENO) + 4000000000u).why, OWNER_NO_PROCESS, "unheld inode");
	prctl(PR_SET_NAME, "ano\tther");
	fd = sock();
	o = who(inode_of(fd));
	tap_ok(o && o->id != id && !strcmp(o->comm, "ano?ther"), "another name, another owner");
	prctl(PR_SET_NAME, "owner_proc_test");
	close(fd);
}

static void child_cases(void)
{
	struct child c = child_new();
	uint32_t inode = child_do(&c, 's'), before;
	const struct owner *o = who(inode);
	int fd;

	tap_ok(o && o->pid == c.pid, "a child's socket");
	tap_ok(o && o->parents_len && o->parents[0].pid == getpid(), "we are its parent");
	tap_ok(o && o->parents_len > 1 && o->parents[1].pid == getppid(), "and ours is behind us");
	before = o ? o->id : 0;
	child_do(&c, 'e');
	o = who(inode);
	tap_ok(o && o->pid == c.pid && o->id != before, "after exec the owner is another one");
	tap_ok(o && strstr(o->cmdline, "the argument"), "with its own command line");
	child_end(&c);
	tap_is(find(inode).why, OWNER_NO_PROCESS, "after its end no process is named");

	fd = sock();
	inode = inode_of(fd);
	c = child_new();
	o = who(inode);
	tap_ok(o && o->pid == getpid(), "shared by fork: the parent, which had it first");
	close(fd);
	o = who(inode);
	tap_ok(o && o->pid == c.pid, "closed in the parent: the child that still has it");
	child_end(&c);
}

/* asked by a user to whom the holder's /proc/PID/fd is closed */
static int ask_as_nobody(uint32_t inode)
{
	struct owner_want w = {.inode = inode, .uid = 0};
	struct owner_proc *other;

	if (setgid(65534) || setuid(65534))
		return 255;
	other = owner_proc_new(getppid(), false);
	if (!other)
		return 255;
	owner_proc_find(other, &w, 1);
	owner_proc_free(other);
	return (int)w.why;
}

static void denied_case(void)
{
	uint32_t inode;
	int status, fd;
	pid_t pid;

	if (geteuid()) {
		tap_skip("denied", "needs another user");
		return;
	}
	fd = sock();
	inode = inode_of(fd);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		close(fd);
		_exit(ask_as_nobody(inode));
	}
	waitpid(pid, &status, 0);
	tap_is(WEXITSTATUS(status), OWNER_DENIED, "closed to us: that is the reason given");
	close(fd);
}

static void sisters_case(void)
{
	int fd = sock();
	uint32_t inode = inode_of(fd);
	struct child a = child_new(), b = child_new();
	struct owner_want w;

	close(fd);
	w = find(inode);
	tap_is(w.why, OWNER_SHARED, "sisters share it, the parent has closed it: none is named");
	tap_is(w.owner, 0, "no owner at all");
	child_end(&a);
	w = find(inode);
	tap_ok(w.owner && owner_proc_get(op, w.owner)->pid == b.pid, "one is left: named");
	child_end(&b);
}

static void short_programs_case(void)
{
	uint64_t t0 = 0, used = 0;
	unsigned good = 0;

	for (int i = 0; i < 100; i++) {
		struct child c = child_new();
		uint32_t inode = child_do(&c, 's');
		const struct owner *o;

		t0 = clock_mono_ns();
		o = who(inode);
		used += clock_mono_ns() - t0;
		good += o && o->pid == c.pid;
		child_end(&c);
	}
	tap_is(good, 100, "a hundred programs, one socket each");
	printf("# %.1f us per new process\n", (double)used / 1e5);
}

static void batch_case(void)
{
	struct owner_want w[64];
	int fd[64];
	uint64_t walks;
	unsigned good = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		fd[i] = sock();
		w[ARRAY_SIZE(w) - 1 - i] =
			(struct owner_want){.inode = inode_of(fd[i]), .uid = getuid()};
	}
	walks = owner_proc_stats(op)->walks;
	owner_proc_find(op, w, ARRAY_SIZE(w));
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++)
		good += w[i].owner && owner_proc_get(op, w[i].owner)->pid == getpid();
	tap_is(good, ARRAY_SIZE(w), "a batch, in reverse order of opening");
	tap_ok(owner_proc_stats(op)->walks - walks <= 1, "one walk at most");
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++)
		close(fd[i]);
}

static double measure(int (*next)(int i), int rounds, unsigned *good)
{
	uint64_t used = 0;

	*good = 0;
	for (int i = 0; i < rounds; i++) {
		uint32_t inode = inode_of(next(i));
		uint64_t t0 = clock_mono_ns();
		const struct owner *o = who(inode);

		used += clock_mono_ns() - t0;
		good[0] += o && o->pid == getpid();
	}
	return (double)used / 1000 / rounds;
}

static int many[MANY];

static int open_one(int i)
{
	return many[i] = sock();
}

static int reopen_same(int i)
{
	(void)i;
	close(many[MANY / 2]);
	return many[MANY / 2] = sock();
}

/* a random socket is closed, the record of its flow tells us, and the next takes its fd */
static int reopen_told(int i)
{
	int k = (int)((unsigned)i * 7919u % MANY);

	owner_proc_closed(op, inode_of(many[k]));
	close(many[k]);
	return many[k] = sock();
}

static int reopen_untold(int i)
{
	int k = (int)((unsigned)i * 104729u % MANY);

	close(many[k]);
	return many[k] = sock();
}

static void many_case(void)
{
	struct rlimit rl;
	unsigned good;
	uint64_t probes;
	double us;

	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = MIN(rl.rlim_max, MANY + 1000);
	setrlimit(RLIMIT_NOFILE, &rl);
	if (rl.rlim_cur < MANY + 100) {
		tap_skip("5000 sockets", "the hard limit of open files is lower");
		return;
	}
	us = measure(open_one, MANY, &good);
	tap_is(good, MANY, "5000 sockets, looked up as they are opened");
	printf("# opening 5000: %.1f us a look-up\n", us);
	probes = owner_proc_stats(op)->probes;
	us = measure(reopen_same, MANY, &good);
	tap_is(good, MANY, "connect, close, connect among 5000 open ones");
	printf("# one fd again and again: %.1f us a look-up\n", us);
	probes = owner_proc_stats(op)->probes - probes;
	tap_ok(probes < 20 * MANY, "%.1f descriptors read for each", (double)probes / MANY);
	probes = owner_proc_stats(op)->probes;
	us = measure(reopen_told, MANY, &good);
	tap_is(good, MANY, "random ones closed and opened, told of");
	printf("# random fds, told: %.1f us a look-up\n", us);
	probes = owner_proc_stats(op)->probes - probes;
	tap_ok(probes < 40 * MANY, "%.1f descriptors read for each", (double)probes / MANY);
	us = measure(reopen_untold, 400, &good);
	printf("# random fds, not told: %.1f us a look-up, %u of 400 found, %llu walks skipped\n",
	       us, good, (unsigned long long)owner_proc_stats(op)->walks_skipped);
	for (int i = 0; i < MANY; i++)
		close(many[i]);
}

/* the whole way, from a 5-tuple, in a namespace of our own */
static void db_case(void)
{
	struct owner_db_config cfg = {.keeper = getpid()};
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct owner_query q[2] = {{.proto = IPPROTO_UDP}, {.proto = IPPROTO_ICMP}};
	struct owner_answer a[2];
	struct owner_db *db;
	struct addrport to = {.port = 53};
	int fd, ping;

	cfg.diag_fd = owner_sockdiag_open();
	db = owner_db_new(&cfg);
	fd = sock();
	addr_parse("127.0.0.1", &to.addr);
	tap_is(connect(fd, (struct sockaddr *)&ss, addr_to_sockaddr(&to, &ss)), 0, "connected");
	getsockname(fd, (struct sockaddr *)&ss, &len);
	addr_from_sockaddr((struct sockaddr *)&ss, &q[0].app);
	q[0].net = to;
	ping = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP);
	if (ping >= 0) {
		struct sockaddr_in any = {.sin_family = AF_INET};

		tap_is(bind(ping, (struct sockaddr *)&any, sizeof(any)), 0, "ping socket bound");
		len = sizeof(ss);
		getsockname(ping, (struct sockaddr *)&ss, &len);
		addr_from_sockaddr((struct sockaddr *)&ss, &q[1].app);
		q[1].app.addr = q[0].app.addr;
		q[1].net.addr = to.addr;
	}
	owner_db_lookup(db, q, a, 2);
	tap_is(a[0].why, OWNER_KNOWN, "UDP by 5-tuple: known");
	tap_is(a[0].uid, getuid(), "uid");
	tap_is(a[0].inode, inode_of(fd), "inode");
	tap_ok(owner_db_get(db, a[0].owner) && owner_db_get(db, a[0].owner)->pid == getpid(),
	       "pid");
	if (ping >= 0) {
		tap_is(a[1].why, OWNER_KNOWN, "a ping socket by its identifier: known");
		tap_is(a[1].inode, inode_of(ping), "its inode");
		q[1].app.port ^= 1;
		owner_db_lookup(db, &q[1], a, 1);
		tap_is(a[0].why, OWNER_NO_SOCKET, "another identifier: no socket");
		close(ping);
	} else {
		tap_skip("a ping socket", strerror(errno));
	}
	close(fd);
	owner_db_lookup(db, q, a, 1);
	tap_is(a[0].why, OWNER_NO_SOCKET, "closed: no socket");
	tap_is(a[0].uid, (uint32_t)-1, "and no uid");
	owner_db_free(db);
}

static void stat_table(void)
{
	static const struct {
		const char *text, *comm;
		int ppid, err;
	} t[] = {
		{"1 (a) S 7 1 1 0 -1 4 9 0 0 0 0 0 0 0 20 0 1 0 55 1 2 3 66 5 77 0", "a", 7, 0},
		{"1 (x) R 9 (y) S 8 1 1 0 -1 4 9 0 0 0 0 0 0 0 20 0 1 0 55 1 2 3 66 5 77 0",
		 "x) R 9 (y", 8, 0},
		{"1 () S 7 1 1 0 -1 4 9 0 0 0 0 0 0 0 20 0 1 0 55 1 2 3 66 5 77 0", "", 7, 0},
		{"1 (a) S 7 1 1", "", 0, -EBADMSG},
		{"1 a S 7", "", 0, -EBADMSG},
		{"1 )a( S 7", "", 0, -EBADMSG},
		{"", "", 0, -EBADMSG},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		struct owner_stat s;
		int err = owner_stat_parse(t[i].text, strlen(t[i].text), &s);

		tap_ok(err == t[i].err &&
			       (err || (s.ppid == t[i].ppid && !strcmp(s.comm, t[i].comm) &&
					s.start_ticks == 55 && s.code == 66 && s.stack == 77)),
		       "stat line %u", i);
	}
}

int main(int argc, char **argv)
{
	if (argc == 1) { /* with an argument, for the command line that is looked up */
		execl(argv[0], argv[0], "with\targument", NULL);
		return 1;
	}
	stat_table();
	op = owner_proc_new(getpid(), false);
	tap_ok(op != NULL, "new");
	self_case();
	child_cases();
	sisters_case();
	denied_case();
	short_programs_case();
	batch_case();
	many_case();
	owner_proc_free(op);
	if (netns_forbidden() || netns_enter_as(false))
		tap_skip("by 5-tuple", "no user and network namespaces here");
	else
		db_case();
	return tap_done();
}
