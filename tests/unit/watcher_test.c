/* SPDX-License-Identifier: MIT */
/*
 * The supervisor is killed while it changes a real network namespace: the watcher leaves the
 * guard and nothing else, `weir down` nothing at all.
 *
 * Everything happens in a network namespace of the test's own. KILLS=N: more than 20.
 *
 * LINK: src/watcher.o src/down.o src/journal.o src/change.o src/runlock.o src/tosyslog.o
 * LINK: src/rtnl.o src/nft.o src/nlmsg.o src/sysctl.o src/tundev.o src/fds.o
 * LINK: src/netns.o
 * LINK: src/base/addr.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "watcher.h"

#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "down.h"
#include "fds.h"
#include "runlock.h"
#include "tundev.h"

#include "base/clock.h"
#include "base/util.h"

#include "../lib/tap.h"

#define TABLE	 7771
#define WAIT_MS	 10000
#define DUMP_MAX 65536

static char dir[32], path[64], lock_path[80], said[64];
static long made_ns; /* how long it takes to make all changes */

/* --- what the namespace looks like --------------------------------------------------------------
 */

static const char dump_command[] =
	"{ ip -4 rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all;"
	"  nft list ruleset; ip -o link | sed 's/^[0-9]*: //'; cd /proc/sys/net &&"
	"  grep . ipv4/fwmark_reflect ipv6/fwmark_reflect ipv4/tcp_rmem; } 2>&1";

static void dump(char *text)
{
	FILE *p = popen(dump_command, "r");
	size_t n = p ? fread(text, 1, DUMP_MAX - 1, p) : 0;

	text[n] = '\0';
	if (!p || pclose(p))
		str_copy(text, DUMP_MAX, "the namespace can't be listed");
}

/** added - lines of @now that @before has not, in @out; false when one of @before is missing */
static bool added(const char *before, const char *now, char *out)
{
	bool whole = true;

	*out = '\0';
	for (const char *p = before, *end; (end = strchr(p, '\n')); p = end + 1) {
		char line[512];

		snprintf(line, sizeof(line), "%.*s\n", (int)(end - p), p);
		whole &= strstr(now, line) != NULL;
	}
	for (const char *p = now, *end; (end = strchr(p, '\n')); p = end + 1) {
		char line[512];

		snprintf(line, sizeof(line), "%.*s\n", (int)(end - p), p);
		if (!strstr(before, line))
			strncat(out, line, DUMP_MAX - strlen(out) - 1);
	}
	return whole;
}

/** only_guard - are these lines all of what make_all() marks as guard? */
static bool only_guard(char *lines)
{
	static const char *const guard[] = {
		"from all iif lo uidrange 2000-2010 lookup 7771",
		"unreachable default table 7771",
		"unreachable default dev lo table 7771",
		"table inet weir_guard",
		"counter packets 0 bytes 0 drop",
		"chain guard {",
		"type filter hook output",
		"\t}",
		"}",
	};

	for (char *save = NULL, *line = strtok_r(lines, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		bool known = false;

		for (size_t i = 0; i < ARRAY_SIZE(guard); i++)
			known |= strstr(line, guard[i]) != NULL;
		if (!known) {
			printf("# not of the guard: %s\n", line);
			return false;
		}
	}
	return true;
}

/* --- a supervisor
 * ------------------------------------------------------------------------------------ */

static const char guard_nft[] =
	"table inet weir_guard {\n"
	" chain guard { type filter hook output priority 10;\n"
	"  meta skuid 2000-2010 oifname != { \"weir0\", \"lo\" } counter drop\n"
	" }\n}\n";
static const char open_nft[] = "table inet weir { chain pre { type filter hook prerouting "
			       "priority -150; iifname \"weir0\" meta mark set 0x30000000\n }\n}\n";

static struct host_rule rule(bool v6, uint32_t pref, enum rule_action action)
{
	struct host_rule r = {.v6 = v6, .pref = pref, .action = action, .table = TABLE};

	if (action == RULE_GOTO)
		r.goto_pref = 1099;
	if (action == RULE_NOP)
		return r;
	r.has_uid = true;
	r.uid_lo = action == RULE_GOTO ? 999 : 2000;
	r.uid_hi = action == RULE_GOTO ? 999 : 2010;
	if (action == RULE_LOOKUP)
		str_copy(r.iif, sizeof(r.iif), "lo");
	return r;
}

static int mirror(struct rtnl *nl, int ifindex)
{
	static const char *const to[] = {"10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"};
	struct host_route r = {.table = TABLE, .ifindex = (unsigned)ifindex};
	int rc = 0;

	for (size_t i = 0; !rc && i < ARRAY_SIZE(to); i++) {
		prefix_parse(to[i], &r.dst);
		r.v6 = !addr_is_v4(&r.dst.addr);
		rc = rtnl_route_replace(nl, &r);
	}
	r = (struct host_route){.type = ROUTE_BLACKHOLE, .table = TABLE};
	prefix_parse("203.0.113.0/24", &r.dst);
	return rc ? rc : rtnl_route_replace(nl, &r);
}

static int set(struct journal *j, const char *name, const char *value)
{
	struct host_sysctl s;

	str_copy(s.name, sizeof(s.name), name);
	str_copy(s.value, sizeof(s.value), value);
	return journal_sysctl(j, &s);
}

static int up(const char *name)
{
	struct ifreq ifr = {.ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;

	str_copy(ifr.ifr_name, sizeof(ifr.ifr_name), name);
	rc = ioctl(fd, SIOCSIFFLAGS, &ifr);
	close(fd);
	return rc ? -errno : 0;
}

static int make_family(struct journal *j, struct rtnl *nl, bool v6)
{
	const struct host_route last = {
		.v6 = v6, .type = ROUTE_UNREACHABLE, .table = TABLE, .metric = UINT32_MAX};
	const struct host_rule nop = rule(v6, 1099, RULE_NOP), skip = rule(v6, 1000, RULE_GOTO),
			       take = rule(v6, 1020, RULE_LOOKUP);
	int rc = journal_route(j, nl, &last, true);

	if (!rc)
		rc = journal_rule(j, nl, &nop, false);
	if (!rc)
		rc = journal_rule(j, nl, &skip, false);
	return rc ? rc : journal_rule(j, nl, &take, true);
}

/** make_all - as `weir up` does; *@tun: the device, which a worker holds */
static int make_all(struct journal *j, struct rtnl *nl, struct nft *nft, int *tun)
{
	struct tundev t;
	char err[256] = "";
	int rc = set(j, "net/ipv4/fwmark_reflect", "1");

	if (!rc)
		rc = set(j, "net/ipv6/fwmark_reflect", "1");
	if (!rc)
		rc = journal_link(j, TUNDEV_NAME);
	if (!rc)
		rc = tundev_open(&t);
	if (rc)
		return rc;
	*tun = t.fd;
	rc = up(TUNDEV_NAME);
	if (!rc)
		rc = journal_table_routes(j, TABLE);
	if (!rc)
		rc = mirror(nl, t.ifindex);
	if (!rc)
		rc = journal_nft(j, nft, "weir_guard", guard_nft, true, err, sizeof(err));
	if (!rc)
		rc = journal_nft(j, nft, "weir", open_nft, false, err, sizeof(err));
	if (!rc)
		rc = make_family(j, nl, false);
	if (*err)
		printf("# %s\n", err);
	return rc ? rc : make_family(j, nl, true);
}

/** worker - a child that holds the device and outlives its parent */
static pid_t worker(const int *keep, size_t n_keep)
{
	pid_t pid = fork();

	if (!pid) {
		if (setresuid(65534, 65534, 65534)) /* as a worker is */
			_exit(1);
		fds_close_except(3, keep, n_keep);
		for (;;)
			pause();
	}
	return pid;
}

enum { ENDS_WELL = 0, FAILED = 9 };

/** supervise - until SIGTERM; @ready: a byte when everything is made */
static _Noreturn void supervise(int ready)
{
	struct journal *j;
	struct watcher *w;
	struct rtnl *nl;
	struct nft *nft;
	sigset_t term;
	pid_t child;
	int tun, sig, rc;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	if (rtnl_open(&nl) || nft_open(&nft) || journal_create(path, &j) || watcher_start(&w, j))
		_exit(FAILED);
	rc = make_all(j, nl, nft, &tun);
	if (rc) {
		printf("# make: %s\n", strerror(-rc));
		fflush(stdout);
		_exit(FAILED);
	}
	child = worker(&tun, 1);
	if (watcher_watch(w, child) || write(ready, &child, sizeof(child)) != sizeof(child))
		_exit(FAILED);
	sigwait(&term, &sig);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(tun);
	rc = journal_undo(j, nl, nft, UNDO_ALL, NULL, NULL);
	watcher_stop(w);
	journal_close(j);
	_exit(rc ? FAILED : ENDS_WELL);
}

/** start - a supervisor; *@ready reads the worker's pid when everything is made */
static pid_t start(int *ready)
{
	int p[2];
	pid_t pid;

	if (pipe(p))
		return -1;
	pid = fork();
	if (!pid) {
		close(p[0]);
		supervise(p[1]);
	}
	close(p[1]);
	*ready = p[0];
	return pid;
}

static pid_t wait_made(int ready)
{
	struct pollfd p = {.fd = ready, .events = POLLIN};
	pid_t worker_pid = 0;

	if (poll(&p, 1, WAIT_MS) <= 0 ||
	    read(ready, &worker_pid, sizeof(worker_pid)) != sizeof(worker_pid))
		worker_pid = 0;
	close(ready);
	return worker_pid;
}

/** wait_free - until nobody holds the lock any more; -1 when that does not come */
static int wait_free(void)
{
	for (int ms = 0; ms < WAIT_MS; ms += 5) {
		int fd = runlock_take(lock_path);

		if (fd >= 0) {
			runlock_release(fd, lock_path);
			return 0;
		}
		poll(NULL, 0, 5);
	}
	return -1;
}

static bool gone(pid_t pid)
{
	if (pid <= 0)
		return false;
	for (int ms = 0; ms < WAIT_MS; ms += 5) {
		while (waitpid(-1, NULL, WNOHANG) > 0) {
		}
		if (kill(pid, 0) && errno == ESRCH)
			return true;
		poll(NULL, 0, 5);
	}
	return false;
}

static void end(pid_t pid)
{
	if (pid <= 0) /* a group, or everybody */
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/** pid_of_watcher - a child of @pid of that name */
static pid_t pid_of_watcher(pid_t pid)
{
	char command[80];
	int found = 0;
	FILE *p;

	snprintf(command, sizeof(command), "pgrep -P %d -x weir-watcher", (int)pid);
	p = popen(command, "r");
	if (!p || fscanf(p, "%d", &found) != 1)
		found = 0;
	if (p)
		pclose(p);
	return found;
}

/** down - `weir down` in a child, its words thrown away; its status */
static int down(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		fds_null(STDOUT_FILENO);
		_exit(down_run(dir, false));
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/** said_times - how often weir has said @what so far */
static int said_times(const char *what)
{
	FILE *f = fopen(said, "re");
	char line[1024];
	int n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += strstr(line, what) != NULL;
	if (f)
		fclose(f);
	return n;
}

/* --- tests
 * -----------------------------------------------------------------------------------------------
 */

static char before[DUMP_MAX], now[DUMP_MAX], more[DUMP_MAX];

static void check_clean(const char *name)
{
	dump(now);
	if (!tap_ok(!strcmp(before, now),
		    "%s: rules, routes, tables, links, settings are as before", name)) {
		added(before, now, more);
		printf("# %s\n", more);
	}
	tap_ok(access(path, F_OK) && access(lock_path, F_OK), "... no journal and no lock");
}

static void test_down_ends_it(void)
{
	const uint64_t begin = clock_mono_ns();
	int ready, status;
	pid_t pid = start(&ready);
	pid_t worker_pid = wait_made(ready);

	made_ns = (long)(clock_mono_ns() - begin);
	if (!tap_ok(worker_pid, "a supervisor with all its changes"))
		return;
	dump(now);
	added(before, now, more);
	tap_ok(strstr(more, "weir0") && strstr(more, "table inet weir"), "... that show");
	if (!tap_ok(!down(), "weir down"))
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	tap_ok(WIFEXITED(status) && WEXITSTATUS(status) == ENDS_WELL,
	       "it is asked, and ends by itself");
	check_clean("after that");
	tap_is(down(), 0, "weir down again has nothing to do");
}

static void test_killed(void)
{
	int ready;
	pid_t pid = start(&ready), worker_pid = wait_made(ready);

	end(pid);
	tap_is(wait_free(), 0, "killed: the watcher does its work and ends");
	tap_ok(gone(worker_pid), "the worker is ended");
	dump(now);
	tap_ok(added(before, now, more), "nothing is missing");
	tap_ok(strstr(more, "table inet weir_guard") && strstr(more, "iif lo uidrange 2000-2010"),
	       "the guard stands");
	tap_ok(strstr(more, "unreachable default"), "... with the routes that end the table");
	tap_ok(only_guard(more), "... and nothing else");
	tap_is(said_times("the selected stay cut off until `weir down`"), 1, "one line says so");
	tap_is(down(), 0, "weir down");
	check_clean("after that");
}

/** test_killed_anywhere - from the first line to some time after the last one */
static void test_killed_anywhere(void)
{
	const char *kills = getenv("KILLS");
	const int n = kills ? atoi(kills) : 20;
	int wrong = 0, made = 0;

	srandom(5);
	for (int i = 0; i < n; i++) {
		int ready;
		pid_t pid = start(&ready);
		const struct timespec ts = {.tv_nsec = random() % (made_ns + made_ns / 4)};
		struct pollfd p = {.fd = ready, .events = POLLIN};

		nanosleep(&ts, NULL);
		made += poll(&p, 1, 0) > 0;
		end(pid);
		close(ready);
		wrong += wait_free() != 0;
		dump(now);
		wrong += !added(before, now, more) || !only_guard(more);
		wrong += down() != 0;
		dump(now);
		wrong += strcmp(before, now) != 0 || !access(path, F_OK);
	}
	tap_is(wrong, 0, "killed %d times at random: guard or less, and nothing after weir down",
	       n);
	printf("# in %d of them everything had been made\n", made);
}

static void test_watcher_killed_too(void)
{
	int ready;
	pid_t pid = start(&ready), worker_pid = wait_made(ready), watching = pid_of_watcher(pid);

	if (!tap_ok(worker_pid && watching, "the watcher goes by its name"))
		return;
	kill(pid, SIGSTOP); /* so that it has no time to start another */
	kill(watching, SIGKILL);
	end(pid);
	end(worker_pid);
	gone(worker_pid);
	tap_is(wait_free(), 0, "both are killed: nobody holds the lock");
	tap_is(down(), 0, "weir down undoes all of it");
	check_clean("after that");
}

static void test_signals(void)
{
	int ready;
	pid_t pid = start(&ready), worker_pid = wait_made(ready), watching = pid_of_watcher(pid);

	if (!tap_ok(worker_pid && watching, "a watcher"))
		return;
	for (int sig = 1; sig < 32; sig++) { /* the C library uses the next ones itself */
		if (sig != SIGKILL && sig != SIGSTOP)
			kill(watching, sig);
	}
	tap_ok(!kill(watching, 0) && getsid(watching) == watching,
	       "no signal but KILL ends the watcher, and it has a session of its own");
	end(pid);
	tap_is(wait_free(), 0, "... and it works");
	tap_ok(gone(worker_pid) && !down(), "...");
	check_clean("after that");
}

/** test_capabilities - two of them, and no way to more */
static void test_capabilities(void)
{
	int ready;
	pid_t pid = start(&ready), worker_pid = wait_made(ready);
	char name[64], line[256];
	unsigned long long effective = ~0ULL, permitted = ~0ULL;
	int no_new_privs = 0;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/status", (int)pid_of_watcher(pid));
	f = fopen(name, "re");
	while (f && fgets(line, sizeof(line), f)) {
		sscanf(line, "CapEff: %llx", &effective);
		sscanf(line, "CapPrm: %llx", &permitted);
		sscanf(line, "NoNewPrivs: %d", &no_new_privs);
	}
	if (f)
		fclose(f);
	tap_ok(effective == permitted && permitted == (1ULL << 12 | 1ULL << 5),
	       "the watcher has CAP_NET_ADMIN and CAP_KILL alone: %llx", permitted);
	tap_is(no_new_privs, 1, "... and gains none");
	end(pid);
	wait_free();
	gone(worker_pid);
	down();
}

/** test_persistent - a device that does not go by itself */
static void test_persistent(void)
{
	struct journal *j;
	struct rtnl *nl;

	if (rtnl_open(&nl) || journal_create(path, &j)) {
		tap_ok(false, "a journal");
		return;
	}
	tap_is(journal_link(j, "weirkept0"), 0, "a line for a device");
	if (system("ip tuntap add dev weirkept0 mode tun"))
		tap_ok(false, "a persistent device");
	journal_close(j);
	rtnl_close(nl);
	tap_is(down(), 0, "weir down");
	check_clean("it is removed");
}

/* --- the watcher alone
 * ------------------------------------------------------------------------------------- */

static void test_restart(void)
{
	struct journal *j;
	struct watcher *w = NULL;
	struct rtnl *nl;
	struct host_rule r = rule(false, 1020, RULE_GOTO);
	int ready[2], status;
	pid_t pid, left, child;

	if (pipe(ready))
		return;
	pid = fork();
	if (!pid) {
		if (journal_create(path, &j) || rtnl_open(&nl) || watcher_start(&w, j) ||
		    journal_rule(j, nl, &r, false))
			_exit(1);
		child = worker(NULL, 0);
		watcher_watch(w, child);
		kill(watcher_pid(w), SIGKILL);
		poll(&(struct pollfd){.fd = watcher_fd(w), .events = POLLIN}, 1, WAIT_MS);
		waitpid(-1, NULL, WNOHANG); /* as a supervisor's loop does */
		if (watcher_alive(w) || watcher_restart(w) || !watcher_alive(w))
			_exit(2);
		if (write(ready[1], &child, sizeof(child)) != sizeof(child))
			_exit(3);
		kill(getpid(), SIGKILL);
	}
	close(ready[1]);
	left = wait_made(ready[0]);
	waitpid(pid, &status, 0);
	tap_ok(WIFSIGNALED(status), "a watcher that was killed is replaced: %x", status);
	tap_is(wait_free(), 0, "the new one does the work");
	tap_ok(left && gone(left), "... and knows whom to end");
	check_clean("after that");
}

static void test_no_storm(void)
{
	struct journal *j;
	struct watcher *w = NULL;
	int rc, n = 0;

	if (journal_create(path, &j) || watcher_start(&w, j)) {
		tap_ok(false, "a watcher");
		return;
	}
	do {
		kill(watcher_pid(w), SIGKILL);
		poll(&(struct pollfd){.fd = watcher_fd(w), .events = POLLIN}, 1, WAIT_MS);
		rc = watcher_restart(w);
	} while (!rc && ++n < 50);
	tap_ok(rc == -ELOOP && n < 10, "one that dies at once is not started for ever");
	tap_ok(!watcher_alive(w) && watcher_fd(w) == -1 && !watcher_pid(w), "then there is none");
	watcher_stop(w);
	watcher_stop(NULL);
	journal_close(j);
	check_clean("after that");
}

/** test_many_watched - those that have ended make room */
static void test_many_watched(void)
{
	struct journal *j;
	struct watcher *w = NULL;
	int wrong = 0;

	if (journal_create(path, &j) || watcher_start(&w, j)) {
		tap_ok(false, "a watcher");
		return;
	}
	for (int i = 0; i < 600; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		wrong += watcher_watch(w, pid) != 0;
		waitpid(pid, NULL, 0);
	}
	tap_is(wrong, 0, "600 workers, one after the other");
	tap_ok(watcher_alive(w), "the watcher lives");
	watcher_stop(w);
	journal_close(j);
	tap_is(wait_free(), 0, "goodbye");
}

static void test_unreadable(void)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return;
	fputs("weir-journal 1 boot=x netns=y\nnonsense\n", f);
	fclose(f);
	tap_is(down(), 1, "a journal that can't be read: weir down says so");
	tap_ok(!access(path, F_OK), "... and leaves it");
	unlink(path);
}

/** why_not - the namespace, or why there is none */
static const char *why_not(void)
{
	char text[DUMP_MAX];
	struct tundev t;

	if (geteuid() || unshare(CLONE_NEWNET))
		return "needs root to make a network namespace";
	if (up("lo"))
		return "lo can't be brought up";
	if (tundev_open(&t))
		return "no TUN device here";
	close(t.fd);
	dump(text);
	return strstr(text, "can't be listed") ? "needs ip and nft" : NULL;
}

int main(void)
{
	const char *reason = why_not();

	if (reason) {
		tap_skip_all(reason);
		return 0;
	}
	str_copy(dir, sizeof(dir), "/tmp/weir-watcher.XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/" JOURNAL_NAME, dir);
	snprintf(lock_path, sizeof(lock_path), "%s.lock", path);
	snprintf(said, sizeof(said), "%s/said", dir);
	if (!freopen(said, "ae", stderr))
		return 1;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	dump(before);
	test_down_ends_it();
	test_killed();
	test_killed_anywhere();
	test_watcher_killed_too();
	test_signals();
	test_capabilities();
	test_persistent();
	test_restart();
	test_no_storm();
	test_many_watched();
	test_unreadable();
	if (unlink(said) || rmdir(dir))
		tap_ok(false, "nothing was left behind");
	return tap_done();
}
