/* SPDX-License-Identifier: MIT */
/*
 * ipc: what is sent arrives, what is malformed does not.
 * LINK: src/ipc.o src/base/util.o src/base/log.o
 */
#include "ipc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/tap.h"

static int ends[2];

/** raw - send @len bytes of @m as they are and receive them; returns ipc_recv()'s result */
static int raw(const struct ipc_msg *m, size_t len)
{
	static struct ipc_msg got;
	static uint8_t copy[sizeof(*m) + 1]; /* a byte more than the largest message has */

	memcpy(copy, m, len < sizeof(*m) ? len : sizeof(*m));
	if (send(ends[0], copy, len, 0) != (ssize_t)len)
		return -EIO;
	return ipc_recv(ends[1], &got);
}

/** words - two of them */
static void words(uint32_t *len, char *text)
{
	memcpy(text, "a\0{}", 5);
	*len = 5;
}

static void test_round_trip(void)
{
	static const struct {
		const char *name;
		uint32_t type, count;
	} good[] = {
		{"ready", IPC_READY, 0},
		{"one query", IPC_OWNER_QUERY, 1},
		{"a full batch of queries", IPC_OWNER_QUERY, IPC_BATCH},
		{"flow open", IPC_FLOW_OPEN, 1},
		{"flow end", IPC_FLOW_END, 1},
		{"the shortest notice", IPC_NOTICE, 1},
		{"the longest notice", IPC_NOTICE, 255},
		{"drained", IPC_DRAINED, 0},
		{"one answer", IPC_OWNER_ANSWER, 1},
		{"a full batch of answers", IPC_OWNER_ANSWER, IPC_BATCH},
		{"owner", IPC_OWNER, 1},
		{"drain", IPC_DRAIN, 0},
		{"resolver", IPC_RESOLVER, 1},
		{"listener", IPC_LISTEN, 1},
		{"no listener any more", IPC_UNLISTEN, 1},
		{"stop", IPC_STOP, 0},
		{"a flow of which something is learnt", IPC_FLOW_END, 2},
		{"an event of a flow", IPC_FLOW_EVENT, 1},
		{"a ruleset", IPC_RULES, 1},
		{"a decision", IPC_DECISION, 1},
		{"a decision no more", IPC_FORGET, 4711},
		{"an order", IPC_DECIDE, 1},
		{"a full batch of orders", IPC_KILL, IPC_BATCH},
		{"owners to be looked at", IPC_LOOK, 2},
		{"somebody watches", IPC_WATCH, 1},
		{"a hook's request", IPC_HOOK, 1},
		{"a hook's record", IPC_HOOK_EVENT, 1},
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		static struct ipc_msg m, got;
		size_t size;

		memset(&m, 0, sizeof(m));
		memset(&got, 0xee, sizeof(got));
		if (good[i].type == IPC_NOTICE)
			memset(m.text, 'x', good[i].count);
		if (good[i].type == IPC_OWNER)
			m.owner.id = 1;
		if (good[i].type == IPC_LISTEN || good[i].type == IPC_UNLISTEN)
			m.listener = (struct listener){.id = 1, .proto = IPPROTO_TCP};
		if (good[i].type == IPC_DECISION)
			m.decision = (struct decision){.number = 1, .what = DECISION_USER};
		if (good[i].type == IPC_HOOK)
			words(&m.hook.len, m.hook.text);
		if (good[i].type == IPC_HOOK_EVENT)
			words(&m.event.len, m.event.text);
		m.type = good[i].type;
		m.count = good[i].count;
		size = ipc_size(&m);
		tap_ok(size && !ipc_send(ends[0], &m) && ipc_recv(ends[1], &got) == 1 &&
			       !memcmp(&m, &got, size),
		       "%s arrives as it was sent", good[i].name);
		if (good[i].type == IPC_NOTICE)
			tap_is(strlen(got.text), good[i].count, "its text is terminated");
		tap_is(raw(&m, size - 1), -EBADMSG, "%s, a byte short, is refused", good[i].name);
		tap_is(raw(&m, size + 1), -EBADMSG, "%s, a byte long, is refused", good[i].name);
	}
}

static void test_counts(void)
{
	static const struct {
		uint32_t type, count;
	} bad[] = {
		{0, 0},
		{IPC_TYPE_MAX, 0},
		{UINT32_MAX, 1},
		{IPC_READY, 1},
		{IPC_OWNER_QUERY, 0},
		{IPC_OWNER_QUERY, IPC_BATCH + 1},
		{IPC_OWNER_ANSWER, 0},
		{IPC_OWNER_ANSWER, UINT32_MAX},
		{IPC_FLOW_END, 0},
		{IPC_FLOW_END, 3},
		{IPC_FLOW_EVENT, 0},
		{IPC_RULES, 0},
		{IPC_DECISION, 2},
		{IPC_DECIDE, 0},
		{IPC_KILL, IPC_BATCH + 1},
		{IPC_WATCH, 2},
		{IPC_NOTICE, 0},
		{IPC_NOTICE, 256},
		{IPC_OWNER, 0},
		{IPC_OWNER, 2},
		{IPC_LISTEN, 0},
		{IPC_UNLISTEN, 2},
		{IPC_RESOLVER, 0},
		{IPC_RESOLVER, 2},
		{IPC_STOP, 1},
	};
	static struct ipc_msg m;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		m.type = bad[i].type;
		m.count = bad[i].count;
		tap_ok(!ipc_size(&m) && ipc_send(ends[0], &m) == -EINVAL &&
			       raw(&m, sizeof(m)) == -EBADMSG,
		       "type %u with count %u is impossible", m.type, m.count);
	}
}

/* each makes one thing wrong in an otherwise good message */
static void no_host_end(struct ipc_msg *m)
{
	memset(m->flow.host, 'x', sizeof(m->flow.host));
}
static void bad_state(struct ipc_msg *m)
{
	m->flow.rec.state = FLOW_STATE_MAX;
}
static void bad_reason(struct ipc_msg *m)
{
	m->flow.rec.reason = FLOW_REASON_MAX;
}
static void bad_verdict(struct ipc_msg *m)
{
	m->flow.rec.verdict = FLOW_VERDICT_MAX;
}
static void bad_flow_why(struct ipc_msg *m)
{
	m->flow.rec.owner_why = OWNER_WHY_MAX;
}
static void no_id(struct ipc_msg *m)
{
	m->owner.id = 0;
}
static void many_parents(struct ipc_msg *m)
{
	m->owner.parents_len = OWNER_PARENTS_MAX + 1;
}
static void no_user_end(struct ipc_msg *m)
{
	memset(m->owner.user, 'x', sizeof(m->owner.user));
}
static void no_comm_end(struct ipc_msg *m)
{
	memset(m->owner.comm, 'x', sizeof(m->owner.comm));
}
static void no_exe_end(struct ipc_msg *m)
{
	memset(m->owner.exe, 'x', sizeof(m->owner.exe));
}
static void no_cmd_end(struct ipc_msg *m)
{
	memset(m->owner.cmdline, 'x', sizeof(m->owner.cmdline));
}
static void no_cgroup_end(struct ipc_msg *m)
{
	memset(m->owner.cgroup, 'x', sizeof(m->owner.cgroup));
}

static void no_parent_exe_end(struct ipc_msg *m)
{
	m->owner.parents_len = 1;
	memset(m->owner.parents[0].exe, 'x', sizeof(m->owner.parents[0].exe));
}

static void strange_event(struct ipc_msg *m)
{
	m->flow.what = IPC_EVENTS;
}

static void strange_by(struct ipc_msg *m)
{
	m->flow.rec.by = FLOW_BY_MAX;
}

static void nothing(struct ipc_msg *m)
{
	m->decision.what = DECISION_USER;
}

static void strange_decision(struct ipc_msg *m)
{
	m->decision.number = 1;
	m->decision.what = DECISION_FOR_MAX;
}

static void no_decision_end(struct ipc_msg *m)
{
	m->decision.number = 1;
	m->decision.what = DECISION_HOST;
	memset(m->decision.text, 'x', sizeof(m->decision.text));
}

static void no_parent_end(struct ipc_msg *m)
{
	m->owner.parents_len = 1;
	memset(m->owner.parents[0].comm, 'x', sizeof(m->owner.parents[0].comm));
}

static void hook_without_end(struct ipc_msg *m)
{
	words(&m->hook.len, m->hook.text);
	m->hook.len--;
}

static void strange_hook(struct ipc_msg *m)
{
	m->hook.what = IPC_HOOK_WHATS;
}

static void event_without_end(struct ipc_msg *m)
{
	words(&m->event.len, m->event.text);
	m->event.len--;
}

static void event_of_one_word(struct ipc_msg *m)
{
	words(&m->event.len, m->event.text);
	m->event.len = 2;
}

static void event_of_three_words(struct ipc_msg *m)
{
	words(&m->event.len, m->event.text);
	m->event.len++;
}

static void event_of_no_flow(struct ipc_msg *m)
{
	words(&m->event.len, m->event.text);
	m->event.rec.state = FLOW_STATE_MAX;
}

static void test_content(void)
{
	static const struct {
		const char *name;
		uint32_t type;
		void (*spoil)(struct ipc_msg *m);
	} bad[] = {
		{"a host without end", IPC_FLOW_END, no_host_end},
		{"a state out of range", IPC_FLOW_END, bad_state},
		{"a reason out of range", IPC_FLOW_END, bad_reason},
		{"a verdict out of range", IPC_FLOW_OPEN, bad_verdict},
		{"an owner_why out of range", IPC_FLOW_OPEN, bad_flow_why},
		{"an owner without id", IPC_OWNER, no_id},
		{"too many parents", IPC_OWNER, many_parents},
		{"a user without end", IPC_OWNER, no_user_end},
		{"a comm without end", IPC_OWNER, no_comm_end},
		{"an exe without end", IPC_OWNER, no_exe_end},
		{"a command line without end", IPC_OWNER, no_cmd_end},
		{"a cgroup without end", IPC_OWNER, no_cgroup_end},
		{"a parent without end", IPC_OWNER, no_parent_end},
		{"a parent's exe without end", IPC_OWNER, no_parent_exe_end},
		{"an event out of range", IPC_FLOW_EVENT, strange_event},
		{"who decided out of range", IPC_FLOW_END, strange_by},
		{"a decision without a number", IPC_DECISION, nothing},
		{"a decision for what there is not", IPC_DECISION, strange_decision},
		{"a decision without end", IPC_DECISION, no_decision_end},
		{"a hook's path without end", IPC_HOOK, hook_without_end},
		{"a hook's request out of range", IPC_HOOK, strange_hook},
		{"a hook's record without end", IPC_HOOK_EVENT, event_without_end},
		{"a hook's record without JSON", IPC_HOOK_EVENT, event_of_one_word},
		{"a hook's record of more than that", IPC_HOOK_EVENT, event_of_three_words},
		{"a hook's record of no flow", IPC_HOOK_EVENT, event_of_no_flow},
	};
	static struct ipc_msg m;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(&m, 0, sizeof(m));
		m.type = bad[i].type;
		m.count = 1;
		m.owner.id = m.type == IPC_OWNER;
		bad[i].spoil(&m);
		tap_is(raw(&m, ipc_size(&m)), -EBADMSG, "%s is refused", bad[i].name);
	}
	memset(&m, 0, sizeof(m));
	m.type = IPC_OWNER_ANSWER;
	m.count = 2;
	m.answer[1].a.why = OWNER_WHY_MAX;
	tap_is(raw(&m, ipc_size(&m)), -EBADMSG, "an answer's why out of range is refused");
	memset(&m, 0, sizeof(m));
	m.type = IPC_NOTICE;
	m.count = 5;
	memcpy(m.text, "ab\0cd", 5);
	tap_is(raw(&m, ipc_size(&m)), -EBADMSG, "a notice with a NUL inside is refused");
	tap_is(raw(&m, 7), -EBADMSG, "less than a header is refused");
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += dup2(fd, fd) == fd;
	return n;
}

/** test_descriptors - a worker must not be able to fill the supervisor's table of files */
static void test_descriptors(void)
{
	struct ipc_msg m = {.type = IPC_READY};
	static struct ipc_msg got;
	struct iovec iov = {.iov_base = &m, .iov_len = ipc_size(&m)};
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
	unsigned before = open_fds();
	bool sent;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &ends[0], sizeof(int));
	sent = sendmsg(ends[0], &mh, 0) > 0;
	ipc_recv(ends[1], &got);
	tap_ok(sent && open_fds() == before, "descriptors that come along are not taken");
}

/** test_passed - a resolver's sockets come with it, and with a bad message nothing stays open */
static void test_passed(void)
{
	static struct ipc_msg m = {.type = IPC_RESOLVER, .count = 1, .resolver.slot = 3}, got;
	unsigned before = open_fds();
	int pair[2], fds[IPC_FDS_MAX];

	tap_ok(!pipe(pair) && !ipc_send_fds(ends[0], &m, pair, 2), "a message with descriptors");
	tap_is(ipc_recv_fds(ends[1], &got, fds), 1, "arrives");
	tap_ok(got.resolver.slot == 3 && open_fds() == before + 4 && write(fds[1], "x", 1) == 1 &&
		       read(pair[0], &got, 1) == 1,
	       "and its descriptors are the ones that were sent, in order");
	close(fds[0]);
	close(fds[1]);
	m.type = IPC_READY;
	m.count = 0;
	tap_ok(!ipc_send(ends[0], &m) && ipc_recv_fds(ends[1], &got, fds) == 1 && fds[0] == -1 &&
		       fds[1] == -1,
	       "none where none came");
	m.type = IPC_FLOW_END;
	m.count = 1;
	m.flow.rec.state = FLOW_STATE_MAX;
	tap_ok(!ipc_send_fds(ends[0], &m, pair, 2) &&
		       ipc_recv_fds(ends[1], &got, fds) == -EBADMSG && fds[0] == -1 &&
		       fds[1] == -1 && open_fds() == before + 2,
	       "those of a malformed message are closed");
	tap_is(ipc_recv_fds(ends[1], &got, fds), -EAGAIN, "nothing there is not waited for");
	tap_is(ipc_send_fds(ends[0], &m, pair, IPC_FDS_MAX + 1), -EINVAL, "too many descriptors");
	close(pair[0]);
	close(pair[1]);
}

static void test_ends(void)
{
	static struct ipc_msg m = {.type = IPC_OWNER_QUERY, .count = IPC_BATCH};
	unsigned n = 0;
	int rc;

	tap_is(ipc_recv(ends[1], &m), -EAGAIN, "nothing there is not waited for");
	m.type = IPC_OWNER_QUERY;
	m.count = IPC_BATCH;
	do {
		rc = ipc_send(ends[0], &m);
	} while (!rc && n++ < 100000);
	tap_is(rc, -EAGAIN, "a slow peer is not waited for");
	while (ipc_recv(ends[1], &m) == 1)
		;
	close(ends[0]);
	tap_is(ipc_recv(ends[1], &m), 0, "the peer's end is seen");
	m.type = IPC_STOP;
	m.count = 0;
	tap_is(ipc_send(ends[1], &m), -EPIPE, "sending to a dead peer is an error, not a signal");
}

int main(void)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return 1;
	test_round_trip();
	test_counts();
	test_content();
	test_descriptors();
	test_passed();
	test_ends();
	return tap_done();
}
