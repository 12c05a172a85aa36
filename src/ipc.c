/* SPDX-License-Identifier: MIT */
/*
 * One datagram, one message; its length follows from type and count and must
 * match to the byte. What arrives is checked here so far as it can be without
 * knowing the receiver: sizes, enumerations, terminated texts. Whether a
 * worker may send this type, and whether a reference means anything to it, the
 * receiver decides. Descriptors that come along are taken only by ipc_recv_fds(), which
 * is the worker's: recvmsg() without room for them makes the kernel drop them.
 */
#include "ipc.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"

#define IPC_HEADER offsetof(struct ipc_msg, query)

/** flow_size - most flows have nothing learnt */
static size_t flow_size(const struct ipc_msg *m)
{
	if (m->count == 1)
		return IPC_HEADER + offsetof(struct ipc_flow, learnt);
	return m->count == 2 ? IPC_HEADER + sizeof(m->flow) : 0;
}

size_t ipc_size(const struct ipc_msg *m)
{
	bool batch = m->count >= 1 && m->count <= IPC_BATCH;

	switch (m->type) {
	case IPC_READY:
	case IPC_DRAINED:
	case IPC_DRAIN:
	case IPC_STOP:
		return m->count ? 0 : IPC_HEADER;
	case IPC_WATCH:
		return m->count > 1 ? 0 : IPC_HEADER;
	case IPC_FORGET: /* the count is all there is to say */
		return IPC_HEADER;
	case IPC_OWNER_QUERY:
		return batch ? IPC_HEADER + m->count * sizeof(m->query[0]) : 0;
	case IPC_OWNER_ANSWER:
		return batch ? IPC_HEADER + m->count * sizeof(m->answer[0]) : 0;
	case IPC_FLOW_OPEN:
	case IPC_FLOW_END:
	case IPC_FLOW_EVENT:
		return flow_size(m);
	case IPC_DECIDE:
	case IPC_KILL:
	case IPC_LOOK:
		return batch ? IPC_HEADER + m->count * sizeof(m->order[0]) : 0;
	case IPC_DECISION:
		return m->count == 1 ? IPC_HEADER + sizeof(m->decision) : 0;
	case IPC_RULES:
		return m->count == 1 ? IPC_HEADER + sizeof(m->rules) : 0;
	case IPC_OWNER:
		return m->count == 1 ? IPC_HEADER + sizeof(m->owner) : 0;
	case IPC_RESOLVER:
		return m->count == 1 ? IPC_HEADER + sizeof(m->resolver) : 0;
	case IPC_LISTEN:
	case IPC_UNLISTEN:
		return m->count == 1 ? IPC_HEADER + sizeof(m->listener) : 0;
	case IPC_HOOK_EVENT:
		return m->count == 1 && m->event.len <= sizeof(m->event.text)
			       ? IPC_HEADER + offsetof(struct ipc_event, text) + m->event.len
			       : 0;
	case IPC_HOOK:
		return m->count == 1 && m->hook.len <= sizeof(m->hook.text)
			       ? IPC_HEADER + offsetof(struct ipc_hook, text) + m->hook.len
			       : 0;
	case IPC_NOTICE: /* without its NUL, for which there must be room */
		return m->count && m->count < sizeof(m->text) ? IPC_HEADER + m->count : 0;
	default:
		return 0;
	}
}

union ipc_control { /* descriptors */
	struct cmsghdr align;
	char room[CMSG_SPACE(IPC_FDS_MAX * sizeof(int))];
};

int ipc_send_fds(int fd, const struct ipc_msg *m, const int *fds, size_t n)
{
	size_t size = ipc_size(m);
	/* The kernel only reads it. */
	struct iovec iov = {.iov_base = (void *)(uintptr_t)m, .iov_len = size};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	union ipc_control u = {.room = {0}};
	ssize_t sent;

	if (!size || n > IPC_FDS_MAX)
		return -EINVAL;
	if (n) {
		mh.msg_control = u.room;
		mh.msg_controllen = CMSG_SPACE(n * sizeof(int));
		u.align.cmsg_level = SOL_SOCKET;
		u.align.cmsg_type = SCM_RIGHTS;
		u.align.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&u.align), fds, n * sizeof(int));
	}
	do {
		sent = sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

int ipc_send(int fd, const struct ipc_msg *m)
{
	return ipc_send_fds(fd, m, NULL, 0);
}

static bool terminated(const char *text, size_t size)
{
	return memchr(text, 0, size) != NULL;
}

/** rec_valid - its enumerations are some */
static bool rec_valid(const struct flow_rec *r)
{
	return r->state < FLOW_STATE_MAX && r->reason < FLOW_REASON_MAX &&
	       r->verdict < FLOW_VERDICT_MAX && r->by < FLOW_BY_MAX && r->owner_why < OWNER_WHY_MAX;
}

static bool flow_valid(const struct ipc_flow *f)
{
	return terminated(f->host, sizeof(f->host)) && f->what < IPC_EVENTS && rec_valid(&f->rec);
}

static bool owner_valid(const struct owner *o)
{
	if (!o->id || o->parents_len > OWNER_PARENTS_MAX)
		return false;
	for (unsigned i = 0; i < o->parents_len; i++)
		if (!terminated(o->parents[i].comm, sizeof(o->parents[i].comm)) ||
		    !terminated(o->parents[i].exe, sizeof(o->parents[i].exe)))
			return false;
	return terminated(o->user, sizeof(o->user)) && terminated(o->comm, sizeof(o->comm)) &&
	       terminated(o->exe, sizeof(o->exe)) && terminated(o->cmdline, sizeof(o->cmdline)) &&
	       terminated(o->cgroup, sizeof(o->cgroup));
}

static bool answers_valid(const struct ipc_msg *m)
{
	for (uint32_t i = 0; i < m->count; i++)
		if (m->answer[i].a.why >= OWNER_WHY_MAX)
			return false;
	return true;
}

static bool listener_valid(const struct listener *l)
{
	return l->id && (l->proto == IPPROTO_TCP || (l->proto == IPPROTO_UDP && l->app.port));
}

/** event_valid - two texts, the second one to the end */
static bool event_valid(const struct ipc_event *e)
{
	const char *nul = memchr(e->text, 0, e->len);

	return rec_valid(&e->rec) && terminated(e->host, sizeof(e->host)) && nul &&
	       memchr(nul + 1, 0, e->len - (size_t)(nul + 1 - e->text)) == e->text + e->len - 1;
}

static bool hook_valid(const struct ipc_hook *h)
{
	return h->what < IPC_HOOK_WHATS && (!h->len || !h->text[h->len - 1]);
}

static bool decision_valid(const struct decision *d)
{
	return d->number && d->what > DECISION_ONCE && d->what < DECISION_FOR_MAX &&
	       (d->verdict == FLOW_ALLOW || d->verdict == FLOW_BLOCK) &&
	       terminated(d->text, sizeof(d->text));
}

/** content_valid - the parts of @m that a receiver uses as an index or a string */
static bool content_valid(const struct ipc_msg *m)
{
	switch (m->type) {
	case IPC_FLOW_OPEN:
	case IPC_FLOW_END:
	case IPC_FLOW_EVENT:
		return flow_valid(&m->flow);
	case IPC_DECISION:
		return decision_valid(&m->decision);
	case IPC_OWNER:
		return owner_valid(&m->owner);
	case IPC_LISTEN:
	case IPC_UNLISTEN:
		return listener_valid(&m->listener);
	case IPC_OWNER_ANSWER:
		return answers_valid(m);
	case IPC_HOOK_EVENT:
		return event_valid(&m->event);
	case IPC_HOOK:
		return hook_valid(&m->hook);
	case IPC_NOTICE:
		return !memchr(m->text, 0, m->count);
	default:
		return true;
	}
}

/** checked - what recvmsg() gave is a message that @m holds; 1, 0 or -errno */
static int checked(struct ipc_msg *m, ssize_t n, int flags)
{
	if (n <= 0)
		return n ? -errno : 0;
	if ((flags & MSG_TRUNC) || (size_t)n < IPC_HEADER || ipc_size(m) != (size_t)n ||
	    !content_valid(m))
		return -EBADMSG;
	if (m->type == IPC_NOTICE)
		m->text[m->count] = 0;
	return 1;
}

/** take_fds - the descriptors that came along; none of them with a message that is none */
static void take_fds(struct msghdr *mh, bool good, int fds[IPC_FDS_MAX])
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			memcpy(fds, CMSG_DATA(c),
			       MIN(c->cmsg_len - CMSG_LEN(0), IPC_FDS_MAX * sizeof(int)));
	}
	for (int i = 0; i < IPC_FDS_MAX && !good; i++)
		close_fd(&fds[i]);
}

/** receive - @fds may be NULL */
static int receive(int fd, struct ipc_msg *m, int *fds)
{
	struct iovec iov = {.iov_base = m, .iov_len = sizeof(*m)};
	union ipc_control u;
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = fds ? u.room : NULL,
		.msg_controllen = fds ? sizeof(u.room) : 0,
	};
	ssize_t n;
	int r;

	do {
		n = recvmsg(fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	r = checked(m, n, mh.msg_flags);
	if (fds && n > 0)
		take_fds(&mh, r == 1, fds);
	return r;
}

int ipc_recv(int fd, struct ipc_msg *m)
{
	return receive(fd, m, NULL);
}

int ipc_recv_fds(int fd, struct ipc_msg *m, int fds[IPC_FDS_MAX])
{
	for (int i = 0; i < IPC_FDS_MAX; i++)
		fds[i] = -1;
	return receive(fd, m, fds);
}
