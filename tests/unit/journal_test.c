/* SPDX-License-Identifier: MIT */
/*
 * The journal against a host that the test plays: rules, routes, tables and settings are lines
 * of text in shared memory, so that a child can be killed in the middle of anything.
 *
 * LINK: src/journal.o src/change.o src/runlock.o src/base/addr.o src/base/util.o src/base/log.o
 * LINK: src/netns.o src/base/clock.o
 */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "change.h"
#include "runlock.h"
#include "sysctl.h"

#include "base/util.h"

#include "../lib/tap.h"

#define TABLE	  7771
#define LINES_MAX 4096

/* --- the host -----------------------------------------------------------------------------------
 */

/** struct host - @die_at: the operation at which the process dies, 0 never; @fail: the next fails
 */
static struct host {
	char lines[LINES_MAX][160]; /* "" = free */
	unsigned n;
	char reflect[128], rmem[128], boot[64];
	unsigned ops, die_at, die_after;
	int fail;
	bool unwritten; /* a change was made whose line was not on disk */
	char order[4096];
} * host;

static char path[64], dir[32];

static void host_reset(void)
{
	memset(host, 0, sizeof(*host));
	str_copy(host->reflect, sizeof(host->reflect), "0");
	str_copy(host->rmem, sizeof(host->rmem), "4096\t131072\t6291456");
	str_copy(host->boot, sizeof(host->boot), "boot-1");
}

/** operation - counts; what kill -9 at this moment leaves is what was there before */
static int operation(void)
{
	host->ops++;
	if (host->die_at && host->ops == host->die_at)
		_exit(7);
	if (host->fail) {
		int rc = host->fail;

		host->fail = 0;
		return rc;
	}
	return 0;
}

static void operation_done(void)
{
	if (host->die_after && host->ops == host->die_after)
		_exit(7);
}

static int host_find(const char *line)
{
	for (unsigned i = 0; i < host->n; i++) {
		if (!strcmp(host->lines[i], line))
			return (int)i;
	}
	return -1;
}

static unsigned host_count(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < host->n; i++)
		n += host->lines[i][0] != 0;
	return n;
}

static bool host_clean(void)
{
	return !host_count() && !strcmp(host->reflect, "0") &&
	       !strcmp(host->rmem, "4096\t131072\t6291456");
}

static size_t file_text(char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return strlen(text);
}

static bool file_has(const char *what)
{
	static char text[1 << 20];

	file_text(text, sizeof(text));
	return strstr(text, what) != NULL;
}

static unsigned file_lines(void)
{
	static char text[1 << 20];
	unsigned n = 0;

	file_text(text, sizeof(text));
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		n++;
	return n;
}

static int host_add(const char *line)
{
	int rc = operation(), at = host_find("");
	char want[200];

	if (rc)
		return rc;
	snprintf(want, sizeof(want), "%s\n", line);
	if (host->ops < 200 && !file_has(want))
		host->unwritten = true;
	if (host_find(line) >= 0)
		return -EEXIST;
	if (at < 0)
		at = (int)host->n++;
	str_copy(host->lines[at], sizeof(host->lines[at]), line);
	operation_done();
	return 0;
}

static int host_del(const char *line, int missing)
{
	int rc = operation(), at = host_find(line);
	size_t len = strlen(host->order);

	if (rc)
		return rc;
	if (at < 0)
		return missing;
	host->lines[at][0] = '\0';
	snprintf(host->order + len, sizeof(host->order) - len, "%s\n", line);
	operation_done();
	return 0;
}

/* --- the fakes ---------------------------------------------------------------------------------
 */

static const char *rule_line(const struct host_rule *r)
{
	static char line[CHANGE_LINE_MAX];
	const struct change c = {.kind = CHANGE_RULE, .rule = *r};

	return change_format(&c, line) ? "?" : line;
}

static const char *route_line(const struct host_route *r)
{
	static char line[CHANGE_LINE_MAX];
	const struct change c = {.kind = CHANGE_ROUTE, .route = *r};

	return change_format(&c, line) ? "?" : line;
}

int rtnl_rule_add(struct rtnl *nl, const struct host_rule *r)
{
	(void)nl;
	return host_add(rule_line(r));
}

int rtnl_rule_del(struct rtnl *nl, const struct host_rule *r)
{
	(void)nl;
	return host_del(rule_line(r), -ENOENT);
}

int rtnl_route_replace(struct rtnl *nl, const struct host_route *r)
{
	int rc = host_add(route_line(r));

	(void)nl;
	return rc == -EEXIST ? 0 : rc;
}

int rtnl_route_del(struct rtnl *nl, const struct host_route *r)
{
	(void)nl;
	return host_del(route_line(r), -ESRCH);
}

int rtnl_link_del(struct rtnl *nl, const char *name)
{
	char line[64];

	(void)nl;
	snprintf(line, sizeof(line), "link %s", name);
	return host_del(line, -ENODEV);
}

int rtnl_table_routes(struct rtnl *nl, uint32_t table,
		      int (*each)(void *ctx, const struct host_route *r), void *ctx)
{
	(void)nl;
	for (unsigned i = 0; i < host->n; i++) {
		struct change c;

		if (!change_parse(host->lines[i], strlen(host->lines[i]), &c) &&
		    c.kind == CHANGE_ROUTE && c.route.table == table)
			each(ctx, &c.route);
	}
	return 0;
}

int nft_apply(struct nft *n, const char *text, char *err, size_t errsize)
{
	int rc = host_add(text);

	(void)n;
	if (rc && rc != -EEXIST)
		snprintf(err, errsize, "no such thing");
	return rc == -EEXIST ? 0 : rc;
}

int nft_table_delete(struct nft *n, const char *table)
{
	char line[64];

	(void)n;
	snprintf(line, sizeof(line), "nft %s", table);
	return host_del(line, -ENOENT);
}

static char *setting(const char *name)
{
	if (!strcmp(name, "net/ipv4/fwmark_reflect"))
		return host->reflect;
	if (!strcmp(name, "net/ipv4/tcp_rmem"))
		return host->rmem;
	return !strcmp(name, "kernel/random/boot_id") ? host->boot : NULL;
}

int sysctl_read(const char *name, char *buf, size_t size)
{
	if (!setting(name))
		return -ENOENT;
	str_copy(buf, size, setting(name));
	return 0;
}

int sysctl_write(const char *name, const char *value)
{
	int rc = operation();

	if (!rc && !setting(name))
		rc = -ENOENT;
	if (!rc)
		str_copy(setting(name), 128, value);
	if (!rc)
		operation_done();
	return rc;
}

/* --- changes
 * --------------------------------------------------------------------------------------- */

/* The fakes never look at them; the journal wants to see that there are some. */
static struct rtnl *const nl = (struct rtnl *)16;
static struct nft *const nft = (struct nft *)16;

static struct host_rule rule(uint32_t pref)
{
	return (struct host_rule){.pref = pref,
				  .action = RULE_LOOKUP,
				  .table = TABLE,
				  .has_uid = true,
				  .uid_lo = 2000,
				  .uid_hi = 2000 + pref};
}

static struct host_route last_route(bool v6)
{
	return (struct host_route){
		.v6 = v6, .type = ROUTE_UNREACHABLE, .table = TABLE, .metric = UINT32_MAX};
}

static struct host_route mirrored_route(const char *dst)
{
	struct host_route r = {.table = TABLE, .ifindex = 5};

	prefix_parse(dst, &r.dst);
	r.v6 = !addr_is_v4(&r.dst.addr);
	return r;
}

static int set(struct journal *j, const char *name, const char *value)
{
	struct host_sysctl s;

	str_copy(s.name, sizeof(s.name), name);
	str_copy(s.value, sizeof(s.value), value);
	return journal_sysctl(j, &s);
}

static int add_rule(struct journal *j, uint32_t pref, bool guard)
{
	const struct host_rule r = rule(pref);

	return journal_rule(j, nl, &r, guard);
}

static int add_route(struct journal *j, const struct host_route *r, bool guard)
{
	return journal_route(j, nl, r, guard);
}

/** make_all - one change of each kind, as `weir up` makes them; 0 or the first error */
static int make_all(struct journal *j)
{
	const struct host_route v4 = last_route(false), v6 = last_route(true);
	char err[80];
	int rc = set(j, "net/ipv4/fwmark_reflect", "1");

	if (!rc)
		rc = set(j, "net/ipv4/tcp_rmem", "1 2 3");
	if (!rc)
		rc = journal_link(j, "weirtest0");
	if (!rc)
		host_add("link weirtest0");
	if (!rc)
		rc = journal_table_routes(j, TABLE);
	if (!rc) {
		host_add("route v4 unicast table=7771 dst=10.0.0.0/8 dev=5");
		host_add("route v6 blackhole table=7771 dst=fd00::/8");
	}
	if (!rc)
		rc = add_route(j, &v4, true);
	if (!rc)
		rc = add_route(j, &v6, true);
	if (!rc)
		rc = journal_nft(j, nft, "weir_guard", "nft weir_guard", true, err, sizeof(err));
	if (!rc)
		rc = journal_nft(j, nft, "weir", "nft weir", false, err, sizeof(err));
	if (!rc)
		rc = add_rule(j, 1020, true);
	return rc ? rc : add_rule(j, 1021, false);
}

static struct journal *fresh(void)
{
	struct journal *j = NULL;

	host_reset();
	unlink(path);
	if (journal_create(path, &j))
		tap_ok(false, "a new journal");
	return j;
}

static struct journal *load_or_say(void)
{
	struct journal *j = NULL;
	char err[300] = "";
	int rc = journal_load(path, &j, err, sizeof(err));

	if (rc && rc != -ENOENT)
		printf("# load: %d %s\n", rc, err);
	return j;
}

static int undo_all(struct journal *j)
{
	return journal_undo(j, nl, nft, UNDO_ALL, NULL, NULL);
}

/* --- tests
 * --------------------------------------------------------------------------------------------- */

static void test_round(void)
{
	struct journal *j = fresh();
	struct stat st;

	tap_is(make_all(j), 0, "all kinds of changes");
	host->unwritten = false; /* the link's and the mirror's routes are not the journal's */
	tap_ok(!stat(path, &st) && (st.st_mode & 0777) == 0600, "the file is closed to others");
	tap_is(journal_count(j), 10, "all stand");
	tap_is(file_lines(), 11, "... a line each after the head");
	tap_ok(journal_has_guard(j), "with a guard");
	tap_is(undo_all(j), 0, "undone");
	tap_ok(host_clean(), "nothing is left, settings are as before");
	tap_ok(strstr(host->order, "pref=1021") < strstr(host->order, "pref=1020") &&
		       strstr(host->order, "pref=1020") < strstr(host->order, "nft weir\n") &&
		       strstr(host->order, "nft weir\n") < strstr(host->order, "nft weir_guard") &&
		       strstr(host->order, "dst=default") < strstr(host->order, "link weirtest0"),
	       "backwards");
	tap_ok(!journal_has_guard(j), "no guard");
	journal_close(j);
	tap_ok(access(path, F_OK), "the file is gone");
	tap_ok(access("journal.lock", F_OK), "... and the lock's");
}

static void test_written_first(void)
{
	struct journal *j = fresh();
	const struct host_route v4 = last_route(false);
	char err[80];

	add_rule(j, 1, false);
	add_rule(j, 2, true);
	add_route(j, &v4, true);
	journal_nft(j, nft, "weir", "nft weir", false, err, sizeof(err));
	tap_ok(host->ops == 4 && !host->unwritten, "each line is written before its change");
	undo_all(j);
	journal_close(j);
}

static void test_failed_change(void)
{
	struct journal *j = fresh();
	const struct host_route v4 = last_route(false);
	char before[4096], after[4096], err[80] = "";

	add_rule(j, 1, false);
	file_text(before, sizeof(before));
	host->fail = -EPERM;
	tap_is(add_rule(j, 2, false), -EPERM, "a rule that fails");
	host->fail = -EOPNOTSUPP;
	tap_is(add_route(j, &v4, true), -EOPNOTSUPP, "a route that fails");
	host->fail = -EINVAL;
	tap_is(journal_nft(j, nft, "weir", "nft weir", true, err, sizeof(err)), -EINVAL,
	       "a table that fails");
	tap_ok(!strcmp(err, "no such thing"), "... with nft's reason");
	host->fail = -EINVAL;
	tap_is(set(j, "net/ipv4/fwmark_reflect", "1"), -EINVAL, "a setting that fails");
	tap_is(set(j, "net/ipv4/none", "1"), -ENOENT, "a setting that there is not");
	journal_link(j, "weirtest0");
	tap_is(journal_take_back(j), 0, "a device that could not be made");
	file_text(after, sizeof(after));
	tap_ok(!strcmp(before, after), "their lines are taken back");
	tap_is(journal_count(j), 1, "... and forgotten");
	host->fail = -EIO;
	tap_is(add_rule(j, 1, false), -EIO, "a restoring that fails");
	tap_is(journal_count(j), 1, "... keeps its line");
	undo_all(j);
	journal_close(j);
}

static void test_not_made(void)
{
	struct journal *j = fresh();
	struct host_rule wrong = rule(5);
	char err[80], name[64];

	wrong.uid_lo = 9999;
	tap_is(journal_rule(j, nl, &wrong, false), -EINVAL, "what can't be written is not made");
	tap_is(journal_nft(j, nft, "filter", "nft filter", false, err, sizeof(err)), -EINVAL,
	       "nor a table that is not weir's");
	tap_is(journal_link(j, "lo"), -EEXIST, "a device that is there is not ours");
	snprintf(name, sizeof(name), "%s/theirs", dir);
	close(open(name, O_CREAT | O_WRONLY, 0600));
	tap_is(journal_path(j, name), -EEXIST, "nor is a file that is there");
	tap_is(set(j, "net/ipv4/fwmark_reflect", "0"), 0, "a setting that is so already");
	tap_is(set(j, "net/ipv4/tcp_rmem", "4096 131072  6291456"), 0, "... with other blanks");
	tap_is(journal_count(j), 0, "none of it stands in the journal");
	tap_is(host->ops, 0, "... nor was anything done");
	unlink(name);
	journal_close(j);
}

static void test_guard_stays(void)
{
	struct journal *j = fresh();

	make_all(j);
	tap_is(journal_undo(j, nl, nft, UNDO_KEEP_GUARD, NULL, NULL), 0, "all but the guard");
	tap_is(host_count(), 4, "two routes, a table and a rule stay");
	tap_ok(host_find("nft weir_guard") >= 0 &&
		       host_find(rule_line(&(struct host_rule){.pref = 1020,
							       .action = RULE_LOOKUP,
							       .table = TABLE,
							       .has_uid = true,
							       .uid_lo = 2000,
							       .uid_hi = 3020})) >= 0,
	       "... the right ones");
	tap_ok(!strcmp(host->reflect, "0"), "settings are as before");
	tap_is(file_lines(), 5, "the file lists just these");
	journal_close(j);
	tap_ok(!access(path, F_OK), "it stays");
	j = load_or_say();
	tap_ok(j && journal_count(j) == 4 && journal_has_guard(j), "and can be loaded");
	if (j) {
		tap_is(undo_all(j), 0, "and undone");
		journal_close(j);
	}
	tap_ok(host_clean() && access(path, F_OK), "nothing is left");
}

struct told {
	char text[8192];
};

static void tell(void *ctx, const char *line)
{
	struct told *t = ctx;
	size_t n = strlen(t->text);

	snprintf(t->text + n, sizeof(t->text) - n, "%s\n", line);
}

static void test_others(void)
{
	struct journal *j = fresh();
	struct told t = {""};

	make_all(j);
	str_copy(host->reflect, sizeof(host->reflect), "2");
	str_copy(host->rmem, sizeof(host->rmem), "1\t2\t3");
	host_del("nft weir", 0);
	host_del(rule_line(&(struct host_rule){0}), 0);
	tap_is(journal_undo(j, nl, nft, UNDO_ALL, tell, &t), 0, "undone after others were at work");
	tap_ok(!strcmp(host->reflect, "2"), "a setting that somebody changed stays");
	tap_ok(strstr(t.text, "left, as somebody changed it since: sysctl net/ipv4/fwmark_reflect"),
	       "... and that is said");
	tap_ok(!strcmp(host->rmem, "4096\t131072\t6291456"),
	       "one that the kernel spells in another way is restored");
	tap_ok(strstr(t.text, "was gone: nft weir\n"), "what is gone is said to be");
	tap_is(host_count(), 0, "the rest is gone as well");
	journal_close(j);
}

static void test_failed_undo(void)
{
	struct journal *j = fresh();
	struct told t = {""};

	add_rule(j, 1, false);
	add_rule(j, 2, false);
	add_rule(j, 3, false);
	host->fail = -EPERM;
	tap_is(journal_undo(j, nl, nft, UNDO_ALL, tell, &t), -EPERM, "an undo that fails");
	tap_ok(strstr(t.text, "can't be undone (Operation not permitted): rule v4 pref=3"),
	       "... is said");
	tap_is(host_count(), 1, "the others are undone");
	tap_ok(file_has("pref=3") && !file_has("pref=2"), "its line stays");
	journal_close(j);
	j = load_or_say();
	tap_is(journal_undo(j, NULL, NULL, UNDO_ALL, NULL, NULL), -EOPNOTSUPP,
	       "without a socket it can't be undone");
	tap_is(undo_all(j), 0, "the next try succeeds");
	tap_ok(host_clean(), "nothing is left");
	journal_close(j);
}

/** test_cut - whatever part of the file is left, what it names goes and nothing breaks */
static void test_cut(void)
{
	static char text[8192];
	unsigned wrong = 0;
	struct journal *j = fresh();
	size_t len;

	make_all(j);
	journal_close(j);
	len = file_text(text, sizeof(text));
	for (size_t cut = 0; cut <= len; cut++) {
		int fd = open(path, O_WRONLY | O_TRUNC | O_CREAT | O_CLOEXEC, 0600);
		unsigned lines = 0;

		for (size_t i = 0; i < cut; i++)
			lines += text[i] == '\n';
		if (write(fd, text, cut) != (ssize_t)cut)
			wrong++;
		close(fd);
		j = load_or_say();
		if (!j || journal_count(j) != (lines ? lines - 1 : 0) || add_rule(j, 77, false) ||
		    undo_all(j))
			wrong++;
		journal_close(j);
		wrong += !access(path, F_OK);
	}
	tap_is(wrong, 0, "a file cut at each of %zu bytes can be gone on with and undone", len);
}

/** killed - @work in a child that dies at operation @at, before or after it; true when it did */
static bool killed(void (*work)(void), unsigned at, bool after)
{
	int status;
	pid_t pid;

	host->ops = 0;
	host->die_at = after ? 0 : at;
	host->die_after = after ? at : 0;
	pid = fork();
	if (!pid) {
		work();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	host->die_at = host->die_after = 0;
	return WIFEXITED(status) && WEXITSTATUS(status) == 7;
}

static void work_make(void)
{
	struct journal *j;

	if (!journal_create(path, &j))
		make_all(j);
}

static void work_undo(void)
{
	struct journal *j = load_or_say();

	if (j)
		undo_all(j);
	journal_close(j);
}

static void work_keep_guard(void)
{
	struct journal *j = load_or_say();

	if (j)
		journal_undo(j, nl, nft, UNDO_KEEP_GUARD, NULL, NULL);
	journal_close(j);
}

static void test_killed_making(void)
{
	unsigned wrong = 0, n = 0;

	for (unsigned step = 2;; step++) {
		host_reset();
		unlink(path);
		if (!killed(work_make, step / 2, step % 2))
			break;
		work_undo();
		wrong += !host_clean() || !access(path, F_OK);
		n++;
	}
	tap_ok(n > 20 && !wrong, "killed while making, at %u moments: all is undone", n);
}

static void test_killed_undoing(void (*undo)(void), const char *name)
{
	unsigned wrong = 0, n = 0;

	for (unsigned step = 2;; step++) {
		host_reset();
		unlink(path);
		killed(work_make, 0, false);
		if (!killed(undo, step / 2, step % 2))
			break;
		undo();
		if (undo == work_keep_guard) {
			wrong += host_count() != 4 || file_lines() != 5;
			work_undo();
		}
		wrong += !host_clean() || !access(path, F_OK);
		n++;
	}
	tap_ok(n >= 14 && !wrong, "killed while undoing %s, at %u moments: done again", name, n);
}

static void test_lock(void)
{
	struct journal *j = fresh(), *second;
	char err[300], lock[80], new[80];
	pid_t pid = 0;
	int fd;

	snprintf(lock, sizeof(lock), "%s.lock", path);
	add_rule(j, 1, false);
	tap_is(journal_create(path, &second), -EBUSY, "a second weir can't begin");
	tap_is(journal_load(path, &second, err, sizeof(err)), -EBUSY, "... nor undo");
	tap_is(runlock_holder(lock, &pid), -ESRCH, "nobody announced itself");
	tap_is(runlock_announce(journal_lock_fd(j)), 0, "announced");
	fd = runlock_holder(lock, &pid);
	tap_ok(fd >= 0 && pid == getpid(), "the supervisor is found");
	close(fd);
	fd = open(lock, O_WRONLY | O_TRUNC | O_CLOEXEC);
	tap_ok(dprintf(fd, "%d 1\n", (int)getpid()) > 0, "a number that another process had");
	close(fd);
	tap_is(runlock_holder(lock, &pid), -ESRCH, "... is no supervisor");
	journal_close(j);
	tap_is(journal_create(path, &j), -EEXIST, "one that was left is not overwritten");
	tap_ok(access(lock, F_OK), "a lock that was given back leaves no file");
	work_undo();
	tap_is(journal_load(path, &j, err, sizeof(err)), -ENOENT, "there is none");
	tap_ok(access(lock, F_OK), "... and looking leaves no file");
	snprintf(new, sizeof(new), "%s.new", path);
	close(open(lock, O_CREAT | O_WRONLY, 0644));
	close(open(new, O_CREAT | O_WRONLY, 0600));
	tap_is(journal_load(path, &j, err, sizeof(err)), -ENOENT, "killed at the very start");
	tap_ok(access(lock, F_OK) && access(new, F_OK), "... its files are removed");
}

static void test_inherited_lock(void)
{
	struct journal *j = fresh(), *own;
	char err[300];
	int status;
	pid_t pid;

	add_rule(j, 1, false);
	pid = fork();
	if (!pid) {
		/* the supervisor is gone when its memory is; here: its other descriptors */
		_exit(journal_load_locked(path, journal_lock_fd(j), &own, err, sizeof(err)) ||
		      undo_all(own) || journal_count(own));
	}
	waitpid(pid, &status, 0);
	tap_ok(WIFEXITED(status) && !WEXITSTATUS(status), "the watcher loads by the same lock");
	tap_is(host_count(), 0, "... and undoes");
	undo_all(j);
	journal_close(j);
}

static void test_paths(void)
{
	struct journal *j = fresh();
	char sub[80], file[100], kept[80], inside[100];

	snprintf(sub, sizeof(sub), "%s/made here", dir);
	snprintf(file, sizeof(file), "%s/socket", sub);
	snprintf(kept, sizeof(kept), "%s/kept", dir);
	snprintf(inside, sizeof(inside), "%s/theirs", kept);
	tap_is(journal_path(j, sub) || mkdir(sub, 0755), 0, "a directory");
	tap_is(journal_path(j, file) || close(open(file, O_CREAT | O_WRONLY, 0600)), 0, "a file");
	tap_is(journal_path(j, kept) || mkdir(kept, 0755), 0, "another directory");
	close(open(inside, O_CREAT | O_WRONLY, 0600));
	tap_is(journal_path(j, "relative"), -EINVAL, "not a relative one");
	tap_is(undo_all(j), 0, "undone");
	tap_ok(access(sub, F_OK), "file and directory are gone");
	tap_ok(!access(inside, F_OK), "one in which somebody has something stays");
	unlink(inside);
	rmdir(kept);
	journal_close(j);
}

static void test_renew(void)
{
	struct journal *j = fresh();
	const struct host_route v4 = last_route(false);
	struct host_rule r = rule(1);

	set(j, "net/ipv4/fwmark_reflect", "1");
	add_route(j, &v4, true);
	add_rule(j, 1, true);
	add_rule(j, 2, false);
	add_rule(j, 3, true);
	journal_close(j);
	j = load_or_say(); /* a start that finds all this */
	if (!j)
		return;
	host->order[0] = '\0';
	tap_is(set(j, "net/ipv4/fwmark_reflect", "2"), 0, "another value");
	tap_is(add_route(j, &v4, true), 0, "the same route");
	tap_is(add_rule(j, 1, false), 0, "the same rule, of the guard no more");
	tap_is(add_rule(j, 4, true), 0, "a new rule");
	tap_is(host->order[0], 0, "nothing was removed so far");
	tap_is(journal_settle(j, nl, nft, NULL, NULL), 0, "settled");
	tap_is(host_count(), 3, "what the new plan has not is gone");
	tap_ok(host_find(rule_line(&r)) >= 0, "what both have stands");
	r = rule(3);
	tap_ok(host_find(rule_line(&r)) < 0, "... the other does not");
	tap_ok(!strcmp(host->reflect, "2"), "the new value is set");
	tap_is(file_lines(), 5, "a line for each thing");
	journal_undo(j, nl, nft, UNDO_KEEP_GUARD, NULL, NULL);
	tap_is(host_count(), 2, "the rule that is no guard any more goes at a crash");
	tap_ok(!strcmp(host->reflect, "0"), "the first old value is restored");
	undo_all(j);
	tap_ok(host_clean(), "nothing is left");
	journal_close(j);
}

static void test_restore(void)
{
	struct journal *j = fresh();
	struct host_rule r = rule(1);

	add_rule(j, 1, true);
	tap_is(add_rule(j, 1, true), 0, "one that is there");
	host_del(rule_line(&r), 0);
	tap_is(add_rule(j, 1, true), 0, "one that somebody removed");
	tap_is(host_count(), 1, "is there again");
	tap_is(file_lines(), 2, "with one line for all");
	undo_all(j);
	journal_close(j);
}

static void test_mirror(void)
{
	struct journal *j = fresh();
	const struct host_route last4 = last_route(false), last6 = last_route(true),
				fixed = mirrored_route("10.1.0.0/16");

	journal_table_routes(j, TABLE);
	add_route(j, &last4, true);
	add_route(j, &last6, true);
	add_route(j, &fixed, false);
	host_add("route v4 unicast table=7771 dst=10.0.0.0/8 dev=5");
	host_add("route v4 unicast table=7771 dst=default dev=5");
	host_add("route v6 unicast table=7771 dst=default dev=5 metric=1024");
	host_add("route v6 unicast table=99 dst=default dev=5");
	tap_is(journal_undo(j, nl, nft, UNDO_KEEP_GUARD, NULL, NULL), 0, "all but the guard");
	tap_ok(host_find(route_line(&last4)) >= 0 && host_find(route_line(&last6)) >= 0,
	       "the guard's routes stay");
	tap_is(host_count(), 3, "the mirrored ones go; another table's stays");
	undo_all(j);
	journal_close(j);
}

static int write_file(const char *text, mode_t mode)
{
	int fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fchmod(fd, mode))
		return -1;
	return close(fd);
}

static void refused(const char *text, mode_t mode, int want, const char *name)
{
	struct journal *j;
	char err[300] = "";

	tap_is(write_file(text, mode), 0, "a file");
	tap_is(journal_load(path, &j, err, sizeof(err)), want, "%s", name);
	tap_ok(*err, "... with a line: %s", err);
	tap_ok(!access(path, F_OK), "... and stays");
}

static void test_refused(void)
{
	char target[64];
	struct journal *j;
	char err[300];

	host_reset();
	refused("weir-journal 1 boot=boot-1 netns=4:1\n+ link weir0\n", 0600, -EXDEV,
		"another namespace's is refused");
	refused("weir-journal 1 boot=a netns=b\n", 0622, -EPERM, "others may write it: refused");
	refused("weir-journal 1 boot=a netns=b\n+ what\n", 0600, -EINVAL, "nonsense is refused");
	refused("weir-journal 9 boot=a netns=b\n", 0600, -EINVAL, "another version is refused");
	snprintf(target, sizeof(target), "%s/target", dir);
	tap_is(rename(path, target) || symlink(target, path), 0, "a symbolic link");
	tap_is(journal_load(path, &j, err, sizeof(err)), -ELOOP, "is refused");
	unlink(target);
	unlink(path);
}

static void test_reboot(void)
{
	struct journal *j = fresh();
	char name[80];

	snprintf(name, sizeof(name), "%s/left", dir);
	add_rule(j, 1, true);
	set(j, "net/ipv4/fwmark_reflect", "1");
	journal_path(j, name);
	close(open(name, O_CREAT | O_WRONLY, 0600));
	journal_close(j);
	str_copy(host->boot, sizeof(host->boot), "boot-2"); /* whose settings say 1, too */
	j = load_or_say();
	tap_ok(j && journal_count(j) == 1 && !journal_has_guard(j),
	       "after a reboot a file is left");
	if (j)
		undo_all(j);
	journal_close(j);
	tap_ok(access(name, F_OK), "... and removed");
	tap_ok(!strcmp(host->reflect, "1"), "a setting of the new boot is not touched");
}

/** test_full - no room for the line: the change is not made, and the file stays readable */
static void test_full(void)
{
	struct journal *j = fresh();
	struct rlimit old, small;
	struct stat st;

	add_rule(j, 1, false);
	stat(path, &st);
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = (rlim_t)st.st_size + 20; /* half a line fits */
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	tap_is(add_rule(j, 2, false), -EFBIG, "no room for a line");
	setrlimit(RLIMIT_FSIZE, &old);
	tap_is(host_count(), 1, "its change was not made");
	tap_is(add_rule(j, 3, false), 0, "with room again it goes on");
	journal_close(j);
	j = load_or_say();
	tap_ok(j && journal_count(j) == 2, "both lines can be read");
	if (j)
		undo_all(j);
	journal_close(j);
	tap_ok(host_clean(), "and undone");
}

static void test_many(void)
{
	struct journal *j = fresh();
	unsigned wrong = 0;

	host->ops = 1000; /* the file is not looked at for each */
	for (uint32_t i = 1; i <= 2000; i++)
		wrong += add_rule(j, i, i % 2) != 0;
	tap_is(wrong, 0, "2000 rules");
	journal_undo(j, nl, nft, UNDO_KEEP_GUARD, NULL, NULL);
	tap_is(host_count(), 1000, "half of them stay");
	undo_all(j);
	tap_ok(host_clean(), "none stays");
	journal_close(j);
}

int main(void)
{
	host = mmap(NULL, sizeof(*host), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	str_copy(dir, sizeof(dir), "/tmp/weir-journal.XXXXXX");
	if (host == MAP_FAILED || !mkdtemp(dir) || chdir(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/journal", dir);
	test_round();
	test_written_first();
	test_failed_change();
	test_not_made();
	test_guard_stays();
	test_others();
	test_failed_undo();
	test_cut();
	test_killed_making();
	test_killed_undoing(work_undo, "all");
	test_killed_undoing(work_keep_guard, "all but the guard");
	test_lock();
	test_inherited_lock();
	test_paths();
	test_renew();
	test_restore();
	test_mirror();
	test_refused();
	test_reboot();
	test_full();
	test_many();
	if (chdir("/") || rmdir(dir))
		tap_ok(false, "nothing was left behind");
	return tap_done();
}
