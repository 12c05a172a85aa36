/* SPDX-License-Identifier: MIT */
/*
 * flowspec: flows that somebody describes.
 * LINK: src/flowspec.o src/base/addr.o src/base/util.o src/expr.o src/expr_build.o
 * LINK: src/expr_check.o src/expr_error.o src/expr_field.o src/expr_flags.o src/expr_glob.o
 * LINK: src/expr_lex.o src/expr_literal.o src/expr_parse.o src/expr_print.o src/expr_regex.o
 * LINK: src/expr_required.o src/expr_values.o
 */
#include "flowspec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../lib/tap.h"
#include "failing_alloc.h"

static char err[300];

static int fake_user(void *ctx, const char *name, uint32_t *uid)
{
	(void)ctx;
	*uid = 1000;
	return strcmp(name, "alice") ? -ENOENT : 0;
}

static int fake_group(void *ctx, const char *name, uint32_t *gid)
{
	(void)ctx;
	*gid = 50;
	return strcmp(name, "staff") ? -ENOENT : 0;
}

static const struct policy_source names = {.user = fake_user, .group = fake_group};

static int no_name(void *ctx, const char *name, uint32_t *id)
{
	(void)ctx;
	(void)name;
	(void)id;
	return -ENOENT;
}

/** says - is the expression yes (1), no (0), unknown (2) of the flow? */
static int says(const char *flow, const char *text)
{
	const struct expr_context c = {.user = no_name, .group = no_name};
	struct expr_error e;
	struct flowspec *f;
	struct expr *x;
	int truth;

	if (flowspec_new(flow, &names, &f, err, sizeof(err)) ||
	    expr_compile(&c, text, strlen(text), &x, &e))
		return -1;
	truth = (int)expr_eval(x, flowspec_get, f);
	expr_free(x);
	flowspec_free(f);
	return truth;
}

static void test_values(void)
{
	static const struct {
		const char *flow, *expr;
		int truth;
	} cases[] = {
		{"", "uid == 1", EXPR_UNKNOWN},
		{"", "dst.port == 1", EXPR_UNKNOWN},
		{"", "dir == out and bytes.up == 0 and bytes.down == 0 and duration == 0s",
		 EXPR_YES},
		{"dir=in bytes.up=10kb duration=3s",
		 "dir == in and bytes.up == 10000 and duration == 3s", EXPR_YES},
		{"uid=1000", "user == 1000", EXPR_YES},
		{"user=alice", "uid == 1000", EXPR_YES},
		{"user=1 uid=2", "uid == 2 and user == 1", EXPR_YES},
		{"uid=-", "uid == 1 or user == 1", EXPR_NO},
		{"gid=staff", "gid == 50", EXPR_YES},
		{"dst=203.0.113.5:443",
		 "dst.ip == 203.0.113.5 and dst.port == 443 and ip.version == 4", EXPR_YES},
		{"dst=[2001:db8::1]:443", "dst.ip == 2001:db8::1 and dst.port == 443", EXPR_YES},
		{"dst=2001:db8::1", "dst.ip == 2001:db8::1 and ip.version == 6", EXPR_YES},
		{"dst=2001:db8::1", "dst.port == 1", EXPR_UNKNOWN},
		{"src=10.0.0.1:5 dst=[::1]", "src.port == 5 and dst.ip == ::1 and ip.version == 6",
		 EXPR_YES},
		{"dst.ip=-", "dst.ip == 1.2.3.4", EXPR_NO},
		{"proto=udp dst.port=53", "proto == udp and dst.port in {52, 53}", EXPR_YES},
		{"exe=/usr/bin/curl", "exe ~ \"/usr/bin/*\"", EXPR_YES},
		{"cmdline=\"curl -s \\\"x\\\"\" pid=7",
		 "cmdline == \"curl -s \\\"x\\\"\" and pid == 7", EXPR_YES},
		{"comm=a\\b", "comm == \"a\\\\b\"", EXPR_YES},
		{"alpn=h2,http/1.1", "alpn == h2 and alpn == http/1.1 and not alpn == x", EXPR_YES},
		{"ancestor.exe=-", "ancestor.exe == /bin/sh", EXPR_NO},
		{"sni=Example.ORG.", "host == example.org and sni == example.org", EXPR_YES},
		{"sni=a.example http.host=b.example", "host == b.example", EXPR_YES},
		{"dns.name=a.example,b.example", "host == a.example and dns.name == b.example",
		 EXPR_YES},
		{"sni=a.example host=c.example", "host == c.example", EXPR_YES},
		{"sni=-", "host == a.example", EXPR_UNKNOWN},
		{"sni=- http.host=- dns.name=-", "host == a.example", EXPR_NO},
		{" \t uid=1 ", "uid == 1", EXPR_YES},
		{"state=open", "state == open", EXPR_YES},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (!tap_ok(says(cases[i].flow, cases[i].expr) == cases[i].truth, "%s: %s",
			    cases[i].flow, cases[i].expr))
			printf("# %d %s\n", says(cases[i].flow, cases[i].expr), err);
}

static void test_refused(void)
{
	static const struct {
		const char *flow, *says;
	} bad[] = {
		{"x", "--flow: x: FIELD=VALUE is wanted"},
		{"prt=1", "--flow: prt=1: there is no such field"},
		{"=1", "--flow: =1: there is no such field"},
		{"tag=x", "--flow: tag=x: tags come"},
		{"ttl=3", "--flow: ttl=3: packets have this"},
		{"uid=1 uid=2", "--flow: 2: uid is given twice"},
		{"dst=1.2.3.4:80 dst.port=81", "--flow: 81: dst.port is given twice"},
		{"dst=1.2.3.0/24", "--flow: 1.2.3.0/24: one value"},
		{"dst.port=1-3", "--flow: 1-3: one value"},
		{"dst.port=70000", "--flow: 70000: "},
		{"dst=x:80", "--flow: x: "},
		{"dst=[1.2.3.4", "--flow: [1.2.3.4: "},
		{"dst=", "--flow: : "},
		{"user=carol", "--flow: carol: "},
		{"proto=x", "--flow: x: "},
		{"comm=\"x", "--flow: comm=\"x: a quote is not closed"},
		{"alpn=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "--flow: 17: at most 16 values"},
		{"uid=1 or uid == 2", "--flow: or: FIELD"},
		{"\"uid=1 or uid == 2\"", "--flow: 1 or uid == 2: one value"},
		{"\"uid=1 and pid == 2\"", "--flow: 1 and pid == 2: one value"},
		{"\x01", "--flow: ?: FIELD"},
	};
	struct flowspec *f;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!tap_ok(flowspec_new(bad[i].flow, &names, &f, err, sizeof(err)) == -EINVAL &&
				    !strncmp(err, bad[i].says, strlen(bad[i].says)),
			    "refused: %d", (int)i))
			printf("# says: %s\n# not:  %s\n", err, bad[i].says);
}

static void test_no_memory(void)
{
	struct flowspec *f = NULL;
	int rc = -ENOMEM;
	long n;

	if (!FAILING_ALLOC) {
		tap_skip("no memory", "the sanitizer has its own malloc");
		return;
	}
	for (n = 1; rc == -ENOMEM && n < 100; n++) {
		fail_in = n;
		rc = flowspec_new("uid=1 dst=1.2.3.4:80 sni=a.example alpn=x,y", &names, &f, err,
				  sizeof(err));
		fail_in = 0;
	}
	tap_ok(!rc && n > 8, "each allocation that fails is reported (%ld)", n - 2);
	if (!rc)
		flowspec_free(f);
}

int main(void)
{
	test_values();
	test_refused();
	test_no_memory();
	return tap_done();
}
