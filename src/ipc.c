/* SPDX-License-Identifier: MIT */
/*
 * One datagram, one message; its length follows from type and count and must
 * match to the byte. What arrives is checked here so far as it can be without
 * knowing the receiver: sizes, enumerations, terminated texts. Whether a
 * worker may send this type, and whether a reference means anything to it, the
 * receiver decides. Descriptors that come along are never taken: recvmsg()
 * without room for them makes the kernel drop them.
 */
#include "ipc.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"

#define IPC_HEADER offsetof(struct ipc_msg, query)

size_t ipc_size(const struct ipc_msg *m)
{
	bool batch = m->count >= 1 && m->count <= IPC_BATCH;

	switch (m->type) {
	case IPC_READY:
	case IPC_DRAINED:
	case IPC_DRAIN:
	case IPC_STOP:
		return m->count ? 0 : IPC_HEADER;
	case IPC_OWNER_QUERY:
		return batch ? IPC_HEADER + m->count * sizeof(m->query[0]) : 0;
	case IPC_OWNER_ANSWER:
		return batch ? IPC_HEADER + m->count * sizeof(m->answer[0]) : 0;
	case IPC_FLOW_OPEN:
	case IPC_FLOW_END:
		return m->count == 1 ? IPC_HEADER + sizeof(m->flow) : 0;
	case IPC_OWNER:
		return m->count == 1 ? IPC_HEADER + sizeof(m->owner) : 0;
	case IPC_NOTICE: /* without its NUL, for which there must be room */
		return m->count && m->count < sizeof(m->text) ? IPC_HEADER + m->count : 0;
	default:
		return 0;
	}
}

int ipc_send(int fd, const struct ipc_msg *m)
{
	size_t size = ipc_size(m);
	ssize_t n;

	if (!size)
		return -EINVAL;
	do {
		n = send(fd, m, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static bool terminated(const char *text, size_t size)
{
	return memchr(text, 0, size) != NULL;
}

static bool flow_valid(const struct ipc_flow *f)
{
	const struct flow_rec *r = &f->rec;

	return terminated(f->host, sizeof(f->host)) && r->state < FLOW_STATE_MAX &&
	       r->reason < FLOW_REASON_MAX && r->verdict <= 1 && r->owner_why < OWNER_WHY_MAX;
}

static bool owner_valid(const struct owner *o)
{
	if (!o->id || o->parents_len > OWNER_PARENTS_MAX)
		return false;
	for (unsigned i = 0; i < o->parents_len; i++)
		if (!terminated(o->parents[i].comm, sizeof(o->parents[i].comm)))
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

/** content_valid - the parts of @m that a receiver uses as an index or a string */
static bool content_valid(const struct ipc_msg *m)
{
	switch (m->type) {
	case IPC_FLOW_OPEN:
	case IPC_FLOW_END:
		return flow_valid(&m->flow);
	case IPC_OWNER:
		return owner_valid(&m->owner);
	case IPC_OWNER_ANSWER:
		return answers_valid(m);
	case IPC_NOTICE:
		return !memchr(m->text, 0, m->count);
	default:
		return true;
	}
}

int ipc_recv(int fd, struct ipc_msg *m)
{
	struct iovec iov = {.iov_base = m, .iov_len = sizeof(*m)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	do {
		n = recvmsg(fd, &mh, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return 0;
	if ((mh.msg_flags & MSG_TRUNC) || (size_t)n < IPC_HEADER || ipc_size(m) != (size_t)n ||
	    !content_valid(m))
		return -EBADMSG;
	if (m->type == IPC_NOTICE)
		m->text[m->count] = 0;
	return 1;
}
