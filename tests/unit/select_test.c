/* SPDX-License-Identifier: MIT */
/*
 * select: options in, selectors out, with names that this test knows.
 * LINK: src/select.o src/base/addr.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "select.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/tap.h"

static struct selection s;
static char err[200], text[1000];
static const char *mount_point = "/sys/fs/cgroup/unified";
static unsigned many_subuids;

/** printed - the i-th selector, as `weir status` shows it */
static const char *printed(unsigned i)
{
	static char out[1000];
	FILE *f = fmemopen(out, sizeof(out), "w");

	if (!f)
		return "";
	select_print(&s.list[i], &s, f);
	fclose(f);
	return out;
}

static int fake_user(void *ctx, const char *name, uint32_t *uid)
{
	(void)ctx;
	if (!strcmp(name, "broken"))
		return -EIO;
	*uid = !strcmp(name, "alice") ? 1000 : !strcmp(name, "bob") ? 1001 : 0;
	return *uid || !strcmp(name, "root") ? 0 : -ENOENT;
}

static int fake_group(void *ctx, const char *name, uint32_t *gid)
{
	(void)ctx;
	*gid = 50;
	return strcmp(name, "staff") ? -ENOENT : 0;
}

static int fake_subuids(void *ctx, const char *name, uint32_t uid, struct id_range *out,
			unsigned room)
{
	(void)ctx;
	if (strcmp(name, "alice") != 0 || uid != 1000)
		return 0;
	if (many_subuids > room)
		return -E2BIG;
	for (unsigned i = 0; i < many_subuids; i++)
		out[i] = (struct id_range){100000 + i * 65536, 165535 + i * 65536};
	return (int)many_subuids;
}

static int fake_unit(void *ctx, const char *unit, char *path, size_t size)
{
	(void)ctx;
	if (!strcmp(unit, "none"))
		return -ENOENT;
	snprintf(path, size, "/system.slice/%s.service", unit);
	return 0;
}

/** option_of - "--name value" as select_add() wants it */
static int add(const char *name, const char *value)
{
	static const struct {
		const char *name;
		enum select_option option;
	} all[] = {
		{"user", SELECT_OPT_USER},
		{"group", SELECT_OPT_GROUP},
		{"cgroup", SELECT_OPT_CGROUP},
		{"unit", SELECT_OPT_UNIT},
		{"mark", SELECT_OPT_MARK},
		{"netns", SELECT_OPT_NETNS},
		{"all", SELECT_OPT_ALL},
		{"proto", SELECT_OPT_PROTO},
		{"to", SELECT_OPT_TO},
		{"port", SELECT_OPT_PORT},
		{"except", SELECT_OPT_EXCEPT},
		{"fail-open", SELECT_OPT_FAIL_OPEN},
		{"no-subuids", SELECT_OPT_NO_SUBUIDS},
		{"forwarded", SELECT_OPT_FORWARDED},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!strcmp(all[i].name, name))
			return select_add(&s, all[i].option, value);
	abort();
}

/** take - "name[:value] ..." through select_add() and select_finish(); the first error */
static int take(const char *line)
{
	const struct select_names names = {
		.cgroup_mount = mount_point,
		.user = fake_user,
		.group = fake_group,
		.subuids = fake_subuids,
		.unit = fake_unit,
	};

	select_init(&s);
	err[0] = 0;
	snprintf(text, sizeof(text), "%s", line);
	for (char *w = strtok(text, " "); w; w = strtok(NULL, " ")) {
		char *value = strchr(w, ':');
		int rc;

		if (value)
			*value++ = 0;
		rc = add(w, value);
		if (rc)
			return rc;
	}
	return select_finish(&s, &names, err, sizeof(err));
}

static void test_good(void)
{
	static const char *const good[] = {
		"user:alice",
		"user:0",
		"user:4294967294",
		"user:1-2 user:bob",
		"group:staff",
		"group:0",
		"cgroup:/system.slice/x.service",
		"cgroup:user.slice",
		"cgroup:/sys/fs/cgroup/unified/a/b",
		"cgroup:a\\x2db.slice",
		"unit:nginx",
		"mark:0",
		"mark:0x10/0xff mark:7",
		"netns:blue",
		"netns:1234 proto:tcp",
		"all",
		"all forwarded",
		"user:0-5 forwarded",
		"netns:x forwarded",
		"proto:tcp all",
		"all to:10.0.0.0/8 to:2001:db8::/32 port:53 port:1-65535",
		("all except:user=alice except:user=5-9 except:group=staff except:cgroup=/a "
		 "except:unit=b except:mark=1/1 except:proto=icmp except:to=::1 except:port=22"),
		"fail-open user:alice",
		"user:alice fail-open no-subuids",
	};

	many_subuids = 1;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		tap_ok(!take(good[i]), "good: %.60s %s", good[i], err);
}

static void test_bad_values(void)
{
	static const char *const bad[] = {
		"user:",
		"user:-1",
		"user:4294967295",
		"user:1-",
		"user:5-4",
		"user:1-4294967295",
		"user:1x",
		"user:a/b",
		"user:a\"b",
		"user:-x",
		"group:1-2",
		"group:",
		"cgroup:",
		"cgroup:/",
		"cgroup:///",
		"cgroup:/a/../b",
		"cgroup:./a",
		"cgroup:a\"b",
		"cgroup:a\x01b",
		"cgroup:a*",
		"unit:",
		"unit:a/b",
		"unit:a\"",
		"mark:",
		"mark:x",
		"mark:0x",
		"mark:-1",
		"mark:1/0",
		"mark:3/1",
		"mark:1/",
		"mark:4294967296",
		"mark:1 mark:0x+1",
		"netns:",
		"netns:a/b",
		"all proto:sctp",
		"all proto:",
		"all to:",
		"all to:10.0.0.0/33",
		"all to:example.org",
		"all port:0",
		"all port:65536",
		"all port:2-1",
		"all port:x",
		"all except:",
		"all except:user",
		"all except:user=",
		"all except:nosuch=1",
		"all except:all",
		"all except:to=x",
		"all except:port=0",
		"all except:mark=2/1",
		"all except:proto=x",
		"all except:cgroup=/",
		"all except:cgroup=..",
		"all except:unit=a/b",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		tap_is(take(bad[i]), -EINVAL, "bad: %.40s", bad[i]);
}

static void test_refused(void)
{
	static const struct {
		const char *line, *says;
	} bad[] = {
		{"", "nothing is selected: say whose traffic"},
		{"proto:tcp except:user=bob", "nothing is selected"},
		{"user:carol", "--user carol: there is no such user"},
		{"user:broken", "--user broken: the user can't be looked up: "},
		{"group:wheel", "--group wheel: there is no such group"},
		{"unit:none", "--unit none: there is no such unit"},
		{"all except:user=carol", "--except user=carol: there is no such user"},
		{"except:group=nix all", "--except group=nix: there is no such group"},
		{"cgroup:/sys/fs/cgroup/unified", "--cgroup /sys/fs/cgroup/unified: not a cgroup"},
		{"cgroup:/sys/fs/cgroup/unified/", "--cgroup /sys/fs/cgroup/unified/: not a cg"},
		{"netns:blue user:1", "--netns blue: not together"},
		{"user:1 netns:blue", "--netns blue: not together"},
		{"all proto:icmp port:1", "--port: ICMP has none"},
		{"proto:icmp all port:1", "--port: ICMP has none"},
		{"user:1-9 forwarded", "--forwarded: only with --all"},
		{"group:0 forwarded", "--forwarded: only with --all"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!tap_ok(take(bad[i].line) == -EINVAL &&
				    !strncmp(err, bad[i].says, strlen(bad[i].says)),
			    "refused: %s", bad[i].line))
			printf("# says: %s\n", err);
	mount_point = NULL;
	tap_ok(take("cgroup:/a") == -EINVAL && strstr(err, "no cgroup v2"), "no cgroup v2: said");
	mount_point = "/sys/fs/cgroup";
	tap_ok(!take("cgroup:/sys/fs/cgroupx") && !strcmp(s.cgroups[0].path, "sys/fs/cgroupx"),
	       "a path that only begins like the mount point is no path below it");
	mount_point = "/sys/fs/cgroup/unified";
}

static void test_numbers(void)
{
	many_subuids = 2;
	tap_ok(!take("user:alice") && s.list[0].ids.n == 3 && s.ranges[0].lo == 1000 &&
		       s.ranges[0].hi == 1000 && s.ranges[1].lo == 100000 &&
		       s.ranges[2].hi == 231071,
	       "a name is its uid and its subordinate ones");
	tap_ok(!take("user:alice no-subuids") && s.list[0].ids.n == 1,
	       "--no-subuids: only the uid, wherever it stands");
	tap_ok(!take("user:1000") && s.list[0].ids.n == 1, "a number is that uid alone");
	many_subuids = SELECT_RANGES_MAX + 1;
	tap_ok(take("user:alice") == -EINVAL && strstr(err, "subordinate"),
	       "too many subordinate ranges are refused");
	many_subuids = SELECT_RANGES_MAX - 1;
	tap_ok(!take("user:alice"), "as many as fit are not");
	tap_ok(take("user:alice user:bob") == -EINVAL && strstr(err, "--user bob: too many"),
	       "one more is");
	many_subuids = 0;
	tap_ok(!take("user:5-7 group:staff mark:0x10/0xf0") && s.ranges[0].lo == 5 &&
		       s.ranges[0].hi == 7 && s.list[1].kind == SELECT_GROUP &&
		       s.ranges[s.list[1].ids.first].lo == 50 && s.list[2].mark == 0x10 &&
		       s.list[2].mask == 0xf0,
	       "ranges, groups, marks");
	tap_ok(!take("cgroup://a//b/ unit:web cgroup:/sys/fs/cgroup/unified/c") &&
		       !strcmp(s.cgroups[0].path, "a/b") && s.cgroups[0].level == 2 &&
		       !strcmp(s.cgroups[1].path, "system.slice/web.service") &&
		       s.cgroups[1].unit && !strcmp(s.cgroups[2].path, "c"),
	       "cgroups below the root, however they are written");
	tap_ok(!take("unit:web all except:unit=web") && s.n_cgroups == 1, "each of them once");
	tap_ok(select_takes_uid(&s, &(struct select_ids){0, 0}, 0) == false, "no ids, no uid");
	take("user:5-7");
	tap_ok(select_matches_uid(&s, 5) && select_matches_uid(&s, 7) &&
		       !select_matches_uid(&s, 4) && !select_matches_uid(&s, 8),
	       "who may be selected: the ends of a range too");
	take("all except:user=6");
	tap_ok(select_matches_uid(&s, 5) && !select_matches_uid(&s, 6), "... but no exception");
	take("all except:user=6 group:0");
	tap_ok(select_matches_uid(&s, 6), "... unless another selector takes it");
	tap_ok(!take("port:443 user:alice proto:tcp to:10.0.0.0/8 to:fd00::/8 except:user=6 fail-open unit:web port:1-9") &&
		       !strcmp(printed(0), "--user alice --proto tcp --to 10.0.0.0/8 --to fd00::/8 "
					   "--port 443 --except user=6 --fail-open") &&
		       !strcmp(printed(1), "--unit web --proto tcp --proto udp --port 1-9"),
	       "printed, each selector has all that holds for it");
}

static void test_users(void)
{
	struct id_range r[4];

	take("user:5-7 except:user=6 user:9");
	tap_ok(select_users(&s, r, 4) == 2 && r[0].lo == 5 && r[0].hi == 7 && r[1].lo == 9 &&
		       r[1].hi == 9,
	       "all users that may be selected");
	tap_is(select_users(&s, r, 1), 0, "more than there is room for");
	take("user:5 group:0");
	tap_is(select_users(&s, r, 4), 0, "not by users alone");
}

static void test_scope(void)
{
	take("proto:tcp except:port=22 user:1 user:2 proto:udp except:to=10.0.0.0/8 user:3 "
	     "fail-open");
	tap_ok(s.list[0].narrow.protos == SELECT_TCP && s.list[1].narrow.protos == SELECT_UDP &&
		       s.list[2].narrow.protos == SELECT_TCP,
	       "what stands in front narrows all that have nothing of their own");
	tap_ok(s.list[0].n_excepts == 1 && s.list[1].n_excepts == 2 && s.list[2].n_excepts == 1 &&
		       s.list[1].excepts[0].kind == EXCEPT_TO &&
		       s.list[1].excepts[1].kind == EXCEPT_PORT,
	       "exceptions in front are added to each selector");
	tap_ok(!s.list[0].fail_open && !s.list[1].fail_open && s.list[2].fail_open,
	       "--fail-open belongs to the selector in front of it");
	take("fail-open user:1 group:2");
	tap_ok(s.list[0].fail_open && s.list[1].fail_open, "or to all, when it comes first");
	take("to:10.0.0.0/8 port:80 user:1 to:::/0 user:2 port:1-5");
	tap_ok(s.list[0].narrow.n_to == 1 && !addr_is_v4(&s.list[0].narrow.to[0].addr) &&
		       s.list[0].narrow.ports[0].lo == 80 && s.list[1].narrow.n_to == 1 &&
		       addr_is_v4(&s.list[1].narrow.to[0].addr) &&
		       s.list[1].narrow.ports[0].hi == 5,
	       "each kind for itself");
	tap_ok(s.list[0].narrow.protos == (SELECT_TCP | SELECT_UDP), "a port means TCP and UDP");
}

static void test_bounds(void)
{
	char line[1000] = "";

	select_init(&s);
	for (int i = 0; i < SELECT_MAX; i++)
		if (select_add(&s, SELECT_OPT_ALL, NULL))
			break;
	tap_is(s.n, SELECT_MAX, "64 selectors fit");
	tap_is(select_add(&s, SELECT_OPT_ALL, NULL), -E2BIG, "a 65th does not");
	for (int i = 0; i < SELECT_NARROW_MAX; i++)
		strcat(line, " port:1 to:::1 except:port=1");
	snprintf(text, sizeof(text), "all%s", line);
	memmove(line, text, sizeof(line));
	tap_ok(!take(line), "16 ports, addresses and exceptions fit");
	tap_is(select_add(&s, SELECT_OPT_PORT, "1"), -E2BIG, "a 17th port does not");
	tap_is(select_add(&s, SELECT_OPT_TO, "::1"), -E2BIG, "nor address");
	tap_is(select_add(&s, SELECT_OPT_EXCEPT, "port=1"), -E2BIG, "nor exception");
	snprintf(text, sizeof(text), "except:port=9 %s", line);
	memmove(line, text, sizeof(line));
	tap_ok(take(line) == -EINVAL && strstr(err, "--except: too many"),
	       "exceptions of all count for each");
}

static void test_long_paths(void)
{
	char path[2 * SELECT_PATH_MAX];

	memset(path, 'a', sizeof(path));
	path[SELECT_PATH_MAX - 2] = 0;
	select_init(&s);
	tap_ok(!select_add(&s, SELECT_OPT_CGROUP, path) &&
		       strlen(s.cgroups[0].path) == SELECT_PATH_MAX - 2,
	       "a long path fits");
	path[SELECT_PATH_MAX - 2] = 'a';
	path[SELECT_PATH_MAX - 1] = 0;
	tap_is(select_add(&s, SELECT_OPT_CGROUP, path), -EINVAL, "a longer one is refused");
}

int main(void)
{
	test_good();
	test_bad_values();
	test_refused();
	test_numbers();
	test_users();
	test_scope();
	test_bounds();
	test_long_paths();
	return tap_done();
}
