/* SPDX-License-Identifier: MIT */
/*
 * doctor: every line is a thing tried, in a child of its own so that no namespace,
 * device or privilege of it stays. The child reports one struct finding
 * through a pipe; one that dies says nothing and counts as "no".
 */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/netlink.h>

#include "explain.h"
#include "isolate.h"
#include "netcfg.h"
#include "owner_bpf.h"
#include "owner_sockdiag.h"
#include "sandbox.h"
#include "sysctl.h"
#include "tundev.h"

#include "base/cgroup.h"
#include "base/log.h"
#include "base/util.h"

enum mark { MARK_NO, MARK_LIMITED, MARK_OK };

struct finding {
	enum mark mark;
	char text[320];
};

struct check {
	const char *name;
	bool needed; /* `weir run` can't do without */
	void (*fn)(struct finding *f);
};

static void found(struct finding *f, enum mark mark, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void found(struct finding *f, enum mark mark, const char *fmt, ...)
{
	va_list ap;

	f->mark = mark;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
}

/* --- pieces ---------------------------------------------------------------------- */

static int write_map(const char *path, unsigned id)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%u %u 1", id, id);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, (size_t)n) != n)
		err = -errno;
	close(fd);
	return err;
}

/** enter - as `weir run` does for this user; 0 or -errno with @f filled */
static int enter(struct finding *f)
{
	const unsigned uid = geteuid();
	const bool userns = !sandbox_privileged();
	int r = 0;

	if (userns && unshare(CLONE_NEWUSER))
		r = -errno;
	else if (userns)
		r = write_map("/proc/self/uid_map", uid);
	if (r) {
		f->mark = MARK_NO;
		explain_userns(-r, f->text, sizeof(f->text));
		return r;
	}
	if (unshare(CLONE_NEWNET)) {
		r = -errno;
		f->mark = MARK_NO;
		explain_netns(-r, userns, f->text, sizeof(f->text));
	}
	return r;
}

static int enter_with_tun(struct finding *f, struct tundev *t)
{
	int r = enter(f);

	if (r)
		return r;
	r = tundev_open(t);
	if (r) {
		f->mark = MARK_NO;
		explain_tun(-r, f->text, sizeof(f->text));
	}
	return r;
}

static int lo_up(void)
{
	struct netcfg *nc;
	int r = netcfg_open(&nc);

	if (!r)
		r = netcfg_link_set(nc, (int)if_nametoindex("lo"),
				    &(struct netcfg_link){.up = true});
	netcfg_close(nc);
	return r;
}

/* --- checks ------------------------------------------------------------------------- */

static void check_namespaces(struct finding *f)
{
	const bool privileged = sandbox_privileged();

	if (enter(f))
		return;
	if (privileged)
		found(f, MARK_OK, "a network namespace; as root no user namespace is needed");
	else
		found(f, MARK_OK,
		      "a user and a network namespace. Inside, setuid programs (sudo, su, ping with "
		      "setuid) have no power and supplementary groups show as nogroup; \"sudo weir "
		      "run --user NAME -- COMMAND\" keeps both");
}

static void check_tun(struct finding *f)
{
	struct tundev t;

	if (!enter_with_tun(f, &t))
		found(f, MARK_OK, "made and opened");
}

static void check_offloads(struct finding *f)
{
	struct tundev t;

	if (enter_with_tun(f, &t))
		return;
	if (t.tso && t.uso)
		found(f, MARK_OK, "TCP and UDP segments of up to 64 KiB (TSO, USO)");
	else if (t.tso)
		found(f, MARK_LIMITED, "TSO, no USO: UDP is slower; Linux 6.2 has it");
	else
		found(f, MARK_LIMITED, "no TSO: TCP is several times slower; use a newer kernel");
}

/** loopback_pair - a connection on loopback; its client's 5-tuple in @q, sockets in @fd */
static int loopback_pair(int fd[2], struct owner_query *q)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);

	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fd[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd[0] < 0 || fd[1] < 0 || bind(fd[0], (struct sockaddr *)&sin, len) ||
	    listen(fd[0], 1) || getsockname(fd[0], (struct sockaddr *)&sin, &len) ||
	    connect(fd[1], (struct sockaddr *)&sin, len))
		return -errno;
	*q = (struct owner_query){.proto = IPPROTO_TCP};
	addr_from_sockaddr((struct sockaddr *)&sin, &q->net);
	if (getsockname(fd[1], (struct sockaddr *)&sin, &len))
		return -errno;
	return addr_from_sockaddr((struct sockaddr *)&sin, &q->app);
}

/** diag_ready - a namespace with a connection in it, and a netlink socket to ask about it */
static int diag_ready(struct finding *f, struct owner_query *q)
{
	int pair[2], fd, r = enter(f);

	if (r)
		return r;
	r = lo_up();
	if (!r)
		r = loopback_pair(pair, q);
	if (!r) {
		fd = owner_sockdiag_open();
		if (fd >= 0)
			return fd;
		r = fd;
	}
	found(f, MARK_LIMITED, "can't be tried: %s", strerror(-r));
	return r;
}

static void check_sockdiag(struct finding *f)
{
	struct owner_query q;
	struct owner_sock s;
	int fd = diag_ready(f, &q);

	if (fd < 0)
		return;
	owner_sockdiag_lookup(fd, &q, &s, 1);
	if (s.err)
		found(f, MARK_LIMITED,
		      "no answer (%s): programs stay unknown; the kernel needs CONFIG_INET_DIAG "
		      "(modprobe tcp_diag udp_diag)",
		      strerror(abs(s.err)));
	else
		found(f, MARK_OK, "the program behind each connection is found exactly");
}

static void check_destroy(struct finding *f)
{
	struct owner_query q;
	int fd = diag_ready(f, &q), r;

	if (fd < 0)
		return;
	r = owner_sockdiag_destroy(fd, &q);
	if (r)
		found(f, MARK_LIMITED,
		      "%s: after a crash of the worker a program that waits in recv() is not told; "
		      "the kernel needs CONFIG_INET_DIAG_DESTROY",
		      strerror(-r));
	else
		found(f, MARK_OK, "connections lost with a worker are ended at once");
}

static void check_ping(struct finding *f)
{
	char range[SYSCTL_VALUE_MAX] = "unreadable";
	struct isolate_user u;
	int fd;

	/* the worker's group counts, which is not root's */
	if (sandbox_privileged() && !isolate_worker_user(&u) && !setgroups(0, NULL) &&
	    setresgid(u.gid, u.gid, u.gid))
		return;
	fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
	sysctl_read("net/ipv4/ping_group_range", range, sizeof(range));
	for (char *p = range; *p; p++) {
		if (*p == '\t')
			*p = ' ';
	}
	if (fd >= 0)
		found(f, MARK_OK, "ping sockets (ping_group_range %s)", range);
	else
		found(f, MARK_LIMITED,
		      "ping inside gets no answer: set net.ipv4.ping_group_range=\"0 2147483647\" "
		      "with sysctl (now %s)",
		      range);
}

static void check_bpf(struct finding *f)
{
	int fd = owner_sockdiag_open(); /* any socket of this namespace */
	struct owner_bpf *ob = NULL;
	char err[200];

	if (!owner_bpf_open(fd, &ob, err, sizeof(err)))
		found(f, MARK_OK, "owners are noted by the kernel when a socket is used");
	else if (owner_bpf_built() && geteuid() != 0)
		found(f, MARK_LIMITED,
		      "for root only: owners are asked for with sock_diag and /proc, and may have "
		      "ended by then");
	else
		found(f, MARK_LIMITED, "%s; owners are asked for with sock_diag and /proc", err);
	owner_bpf_free(ob);
	close_fd(&fd);
}

static void check_nftables(struct finding *f)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	if (fd >= 0)
		found(f, MARK_OK, "the kernel has nfnetlink; not needed by run");
	else
		found(f, MARK_LIMITED, "no nfnetlink (modprobe nf_tables); not needed by run");
}

static void check_cgroup(struct finding *f)
{
	char where[256];

	if (cgroup2_mount(where, sizeof(where)))
		found(f, MARK_OK, "version 2 at %s", where);
	else
		found(f, MARK_LIMITED, "no version 2 hierarchy: cgroups of version 1 are shown");
}

static void check_apparmor(struct finding *f)
{
	const long v = sysctl_read_long("kernel/apparmor_restrict_unprivileged_userns", -1);

	if (v == 1 && !sandbox_privileged())
		found(f, MARK_LIMITED,
		      "restricts user namespaces of programs without a profile: set "
		      "kernel.apparmor_restrict_unprivileged_userns=0 if \"namespaces\" above says no");
	else
		found(f, MARK_OK, "%s",
		      v < 0 ? "no restriction of user namespaces on this system"
			    : "does not restrict user namespaces for this user");
}

static void check_route(struct finding *f)
{
	struct netcfg_host h = {0};
	struct netcfg *nc;
	int r = netcfg_open(&nc);

	if (!r)
		r = netcfg_read_host(nc, &h);
	netcfg_close(nc);
	if (r)
		found(f, MARK_NO, "can't be read: %s", strerror(-r));
	else if (!h.v4.present && !h.v6.present)
		found(f, MARK_LIMITED, "none: programs get documentation addresses inside");
	else
		found(f, MARK_OK, "IPv4 %s, IPv6 %s, MTU %u", h.v4.present ? "yes" : "absent",
		      h.v6.present ? "yes" : "absent", h.mtu);
}

static const struct check checks[] = {
	{"namespaces", true, check_namespaces},
	{"TUN device", true, check_tun},
	{"offloads", false, check_offloads},
	{"default route", true, check_route},
	{"sock_diag look-up", false, check_sockdiag},
	{"SOCK_DESTROY", false, check_destroy},
	{"ping", false, check_ping},
	{"cgroups", false, check_cgroup},
	{"AppArmor", false, check_apparmor},
	{"BPF", false, check_bpf},
	{"nftables", false, check_nftables},
};

/* --- running and printing --------------------------------------------------------------- */

static _Noreturn void check_child(const struct check *c, int fd)
{
	struct finding f = {.mark = MARK_NO};

	c->fn(&f);
	_exit(write(fd, &f, sizeof(f)) != (ssize_t)sizeof(f));
}

static struct finding check_one(const struct check *c)
{
	struct finding f;
	int fds[2];
	ssize_t n = -1;
	pid_t pid;

	if (!pipe2(fds, O_CLOEXEC)) {
		pid = fork();
		if (pid == 0)
			check_child(c, fds[1]);
		close(fds[1]);
		if (pid > 0) {
			n = read(fds[0], &f, sizeof(f));
			waitpid(pid, NULL, 0);
		}
		close(fds[0]);
	}
	if (n != (ssize_t)sizeof(f))
		found(&f, MARK_NO, "can't be tried: %s", strerror(errno));
	return f;
}

/** print_wrapped - @text in the column after the name, lines below 80 where words allow it */
static void print_wrapped(const char *text)
{
	const size_t indent = 29, width = 80 - indent;
	size_t col = 0;

	while (*text) {
		size_t word = strcspn(text, " ");

		if (col && col + 1 + word > width) {
			printf("\n%*s", (int)indent, "");
			col = 0;
		} else if (col) {
			putchar(' ');
			col++;
		}
		fwrite(text, 1, word, stdout);
		col += word;
		text += word + strspn(text + word, " ");
	}
	putchar('\n');
}

int doctor_run(void)
{
	static const char *const marks[] = {
		[MARK_NO] = "no", [MARK_LIMITED] = "limited", [MARK_OK] = "ok"};
	bool can = true;

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		struct finding f = check_one(&checks[i]);

		f.text[sizeof(f.text) - 1] = '\0';
		printf("%-8s %-18s  ", marks[f.mark], checks[i].name);
		print_wrapped(f.text);
		fflush(stdout);
		can &= f.mark != MARK_NO || !checks[i].needed;
	}
	printf("\n%s\n",
	       can ? "weir run works for this user."
		   : "weir run does not work for this user: see the lines marked \"no\".");
	return can ? 0 : 1;
}
