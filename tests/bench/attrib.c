/* SPDX-License-Identifier: MIT */
/*
 * attrib: programs that use the network once and end at once, and what each knows of itself.
 *
 *   attrib serve PORT                      takes TCP and UDP at every address
 *   attrib launch N PARALLEL PORT TRUTH KIND...
 *                                          N processes, the kinds in turn
 *   attrib client KIND INDEX PORT          one of them; its truth goes to descriptor 3
 *   attrib kinds                           their names
 *
 * Process INDEX has a destination of its own, 10.90.x.y or fd90::x:y, by which a flow log and
 * the lines of TRUTH ("DEST KIND PID START UID COMM") can be joined. ATTRIB_SUID names a copy of
 * this program that belongs to another user and has the setuid bit.
 */
#include "bench.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define TRUTH_FD 3
#define UID_USER 2001
#define UID_BOX	 2003
#define LINE	 "one line\n"

struct job {
	const char *kind;
	unsigned index, port;
	char dest[INET6_ADDRSTRLEN];
};

/* --- truth ---------------------------------------------------------------------------- */

/* host_pid - /proc was mounted outside of any pid namespace that we may be in */
static int host_pid(void)
{
	char link[32] = "";

	return readlink("/proc/self", link, sizeof(link) - 1) > 0 ? atoi(link) : -1;
}

static unsigned long long start_ticks(void)
{
	unsigned long long ticks = 0;
	char buf[1024], *p;
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);

	if (n <= 0)
		fail("/proc/self/stat");
	close(fd);
	buf[n] = '\0';
	p = strrchr(buf, ')');
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (!p || sscanf(p, "%llu", &ticks) != 1)
		fail("/proc/self/stat");
	return ticks;
}

/* tell_truth - @uid as the host sees it */
static void tell_truth(const struct job *j, unsigned uid)
{
	char line[256], comm[17] = "";
	int n;

	prctl(PR_GET_NAME, comm);
	n = snprintf(line, sizeof(line), "%s %s %d %llu %u %s\n", j->dest, j->kind, host_pid(),
		     start_ticks(), uid, comm);
	if (write(TRUTH_FD, line, (size_t)n) != n)
		fail("truth");
}

/* --- kinds ----------------------------------------------------------------------------- */

static struct target dest_of(const struct job *j)
{
	return target_make(j->dest, j->port, 0);
}

static void send_line(int fd)
{
	if (send(fd, LINE, sizeof(LINE) - 1, MSG_NOSIGNAL) < 0)
		fail("send");
}

static int use_stream(const struct job *j)
{
	struct target t = dest_of(j);
	int fd = client_connect(&t);

	send_line(fd);
	return fd;
}

static void do_tcp(const struct job *j)
{
	tell_truth(j, geteuid());
	use_stream(j);
}

static void do_udp(const struct job *j)
{
	struct target t = dest_of(j);
	int fd = socket(t.ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	tell_truth(j, geteuid());
	if (fd < 0 ||
	    sendto(fd, LINE, sizeof(LINE) - 1, 0, (const struct sockaddr *)&t.ss, t.len) < 0)
		fail("sendto");
}

static void do_udp_connected(const struct job *j)
{
	struct target t = dest_of(j);
	int fd = socket(t.ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	tell_truth(j, geteuid());
	if (fd < 0 || connect(fd, (const struct sockaddr *)&t.ss, t.len))
		fail("connect");
	send_line(fd);
}

static void do_echo(const struct job *j)
{
	struct target t = target_make(j->dest, 0, 0);
	int six = t.ss.ss_family == AF_INET6;
	struct icmphdr h = {.type = six ? ICMP6_ECHO_REQUEST : ICMP_ECHO};
	int fd = socket(t.ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC,
			six ? IPPROTO_ICMPV6 : IPPROTO_ICMP);

	tell_truth(j, geteuid());
	if (fd < 0 || sendto(fd, &h, sizeof(h), 0, (const struct sockaddr *)&t.ss, t.len) < 0)
		fail("echo");
}

static void *thread_main(void *arg)
{
	prctl(PR_SET_NAME, "other-thread");
	use_stream(arg);
	return NULL;
}

static void do_thread(const struct job *j)
{
	struct job copy = *j;
	pthread_t t;

	tell_truth(j, geteuid());
	if (pthread_create(&t, NULL, thread_main, &copy))
		fail("thread");
	pthread_join(t, NULL);
}

/* do_orphan - the parent has ended by the time that the child connects */
static void do_orphan(const struct job *j)
{
	int gone[2];
	char c;

	if (pipe(gone))
		fail("pipe");
	if (fork())
		_exit(0);
	close(gone[1]);
	if (read(gone[0], &c, 1) == 0)
		do_tcp(j);
}

static void do_setuid(const struct job *j)
{
	const char *suid = getenv("ATTRIB_SUID");
	char index[16], port[16];

	if (!strcmp(program_invocation_short_name, "attrib-suid")) {
		do_tcp(j);
		return;
	}
	snprintf(index, sizeof(index), "%u", j->index);
	snprintf(port, sizeof(port), "%u", j->port);
	if (!suid || setresgid(UID_USER, UID_USER, UID_USER) ||
	    setresuid(UID_USER, UID_USER, UID_USER))
		fail("ATTRIB_SUID");
	execl(suid, "attrib-suid", "client", j->kind, index, port, NULL);
	fail("%s", suid);
}

static void do_user(const struct job *j)
{
	if (setresgid(UID_USER, UID_USER, UID_USER) || setresuid(UID_USER, UID_USER, UID_USER))
		fail("setuid");
	do_tcp(j);
}

/* do_exec - another program by the time that its line arrives */
static void do_exec(const struct job *j)
{
	do_tcp(j);
	execl("/bin/true", "true", NULL);
	fail("/bin/true");
}

/* do_passed - a child sends over the connection that its parent made, and lives longer */
static void do_passed(const struct job *j)
{
	struct target t = dest_of(j);
	int fd;

	tell_truth(j, geteuid());
	fd = client_connect(&t);
	if (fork())
		_exit(0);
	usleep(1000);
	send_line(fd);
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail("%s", path);
	close(fd);
}

/* do_box - user, mount and pid namespaces of its own, as a container has */
static void do_box(const struct job *j)
{
	char map[32];

	if (setresgid(UID_BOX, UID_BOX, UID_BOX) || setresuid(UID_BOX, UID_BOX, UID_BOX) ||
	    prctl(PR_SET_DUMPABLE, 1) || unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID))
		fail("unshare");
	snprintf(map, sizeof(map), "0 %d 1", UID_BOX);
	write_text("/proc/self/uid_map", map);
	if (!fork()) {
		tell_truth(j, UID_BOX);
		use_stream(j);
		_exit(0);
	}
	wait(NULL);
}

/* --- io_uring, without its library -------------------------------------------------------- */

struct ring {
	int fd;
	struct io_uring_params p;
	char *sq, *cq;
	struct io_uring_sqe *sqe;
};

static void *ring_map(const struct ring *r, size_t len, off_t what)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, what);

	if (p == MAP_FAILED)
		fail("io_uring");
	return p;
}

static void ring_open(struct ring *r)
{
	memset(r, 0, sizeof(*r));
	r->fd = (int)syscall(SYS_io_uring_setup, 4, &r->p);
	if (r->fd < 0)
		fail("io_uring_setup");
	r->sq = ring_map(r, r->p.sq_off.array + r->p.sq_entries * sizeof(unsigned),
			 IORING_OFF_SQ_RING);
	r->cq = ring_map(r, r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe),
			 IORING_OFF_CQ_RING);
	r->sqe = ring_map(r, r->p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
}

/* ring_do - one request, done by a worker of the kernel's (IOSQE_ASYNC); its result */
static int ring_do(struct ring *r, const struct io_uring_sqe *what)
{
	_Atomic unsigned *tail = (void *)(r->sq + r->p.sq_off.tail);
	_Atomic unsigned *head = (void *)(r->cq + r->p.cq_off.head);
	const struct io_uring_cqe *cqe;
	unsigned at = *tail & (r->p.sq_entries - 1);
	int res;

	r->sqe[at] = *what;
	r->sqe[at].flags = IOSQE_ASYNC;
	((unsigned *)(void *)(r->sq + r->p.sq_off.array))[at] = at;
	atomic_fetch_add(tail, 1);
	if (syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		fail("io_uring_enter");
	cqe = (void *)(r->cq + r->p.cq_off.cqes);
	res = cqe[*head & (r->p.cq_entries - 1)].res;
	atomic_fetch_add(head, 1);
	return res;
}

static void do_uring(const struct job *j)
{
	struct target t = dest_of(j);
	int fd = socket(t.ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct io_uring_sqe connect_to = {
		.opcode = IORING_OP_CONNECT, .fd = fd, .addr = (uintptr_t)&t.ss, .off = t.len};
	struct io_uring_sqe send_it = {.opcode = IORING_OP_SEND,
				       .fd = fd,
				       .addr = (uintptr_t)LINE,
				       .len = sizeof(LINE) - 1};
	struct ring r;

	tell_truth(j, geteuid());
	ring_open(&r);
	errno = -ring_do(&r, &connect_to);
	if (errno)
		fail("io_uring connect");
	if (ring_do(&r, &send_it) != sizeof(LINE) - 1)
		fail("io_uring send");
}

static const struct kind {
	const char *name;
	int six;
	void (*run)(const struct job *j);
} kinds[] = {
	{"tcp4", 0, do_tcp},
	{"tcp6", 1, do_tcp},
	{"udp4", 0, do_udp},
	{"udp6", 1, do_udp},
	{"udp-connected4", 0, do_udp_connected},
	{"udp-connected6", 1, do_udp_connected},
	{"echo4", 0, do_echo},
	{"echo6", 1, do_echo},
	{"thread", 0, do_thread},
	{"io_uring", 0, do_uring},
	{"orphan", 0, do_orphan},
	{"exec", 0, do_exec},
	{"passed", 0, do_passed},
	{"user", 0, do_user},
	{"setuid", 1, do_setuid},
	{"container", 0, do_box},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const struct kind *kind_find(const char *name)
{
	for (size_t i = 0; i < KINDS; i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	errno = EINVAL;
	fail("kind %s", name);
}

static void client(const char *name, unsigned index, unsigned port)
{
	const struct kind *k = kind_find(name);
	struct job j = {.kind = k->name, .index = index, .port = port};

	if (k->six)
		snprintf(j.dest, sizeof(j.dest), "fd90::%x:%x", 1 + (index >> 12),
			 1 + (index & 0xfff));
	else
		snprintf(j.dest, sizeof(j.dest), "10.90.%u.%u", 1 + index / 250, 1 + index % 250);
	k->run(&j);
}

/* --- all of them ----------------------------------------------------------------------------- */

static void start_client(const char *kind, unsigned index, const char *port)
{
	char text[16];

	if (fork())
		return;
	snprintf(text, sizeof(text), "%u", index);
	execl("/proc/self/exe", "attrib", "client", kind, text, port, NULL);
	fail("exec");
}

static void reap_one(unsigned *failed)
{
	int status;

	if (wait(&status) < 0)
		fail("wait");
	*failed += status != 0;
}

static int launch(unsigned n, unsigned parallel, const char *port, const char *truth, char **names)
{
	int fd = open(truth, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	unsigned count = 0, failed = 0;

	/* the same number would keep its close-on-exec flag */
	if (fd < 0 || (fd == TRUTH_FD ? fcntl(fd, F_SETFD, 0) : dup2(fd, TRUTH_FD)) < 0)
		fail("%s", truth);
	while (names[count])
		count++;
	for (unsigned i = 0; i < n; i++) {
		if (i >= parallel)
			reap_one(&failed);
		start_client(names[i % count], i, port);
	}
	for (unsigned i = 0; i < parallel && i < n; i++)
		reap_one(&failed);
	if (failed)
		fprintf(stderr, "attrib: %u clients failed\n", failed);
	return failed != 0;
}

static void serve(unsigned port)
{
	int tcp = server_socket(SOCK_STREAM, port), udp = server_socket(SOCK_DGRAM, port);
	char buf[256];

	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			if (recv(udp, buf, sizeof(buf), 0) < 0)
				fail("recv");
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		int fd = accept4(tcp, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		while (read(fd, buf, sizeof(buf)) > 0)
			;
		close(fd);
	}
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve")) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(arg_unsigned(argv[2]));
	} else if (argc == 5 && !strcmp(argv[1], "client")) {
		client(argv[2], arg_unsigned(argv[3]), arg_unsigned(argv[4]));
	} else if (argc >= 7 && !strcmp(argv[1], "launch")) {
		return launch(arg_unsigned(argv[2]), arg_unsigned(argv[3]), argv[4], argv[5],
			      argv + 6);
	} else if (argc == 2 && !strcmp(argv[1], "kinds")) {
		for (size_t i = 0; i < KINDS; i++)
			puts(kinds[i].name);
	} else {
		fprintf(stderr, "usage: see the head of attrib.c\n");
		return 2;
	}
	return 0;
}
