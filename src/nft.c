/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * libnftables turns text into one netlink transaction; what is simpler asked directly
 * (is there a table? what was deleted?) goes over a socket of our own, without reading the
 * whole ruleset as the library does for `list table`.
 *
 * Notifications carry the port of the socket that made the change. The library hides its
 * socket, so its port is asked of the descriptor that the library opened (library_socket);
 * where that fails, our own changes are reported like anybody's.
 */
#include "nft.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <nftables/libnftables.h>

#include "base/util.h"
#include "nlmsg.h"

struct nft {
	struct nft_ctx *lib;
	int lib_fd; /* of the library; -1: not known */
	struct nlmsg nl;
};

#define TABLE_PREFIX "weir"
#define ATTR_TABLE   1 /* the table's name, in messages of every kind of object */

/** netfilter_port - of the netlink socket @fd; 0: it is none, or has sent nothing so far */
static uint32_t netfilter_port(int fd, bool *is_one)
{
	struct sockaddr_nl me = {0};
	socklen_t len = sizeof(me), proto_len = sizeof(int);
	int proto = -1;

	*is_one = !getsockname(fd, (struct sockaddr *)&me, &len) && me.nl_family == AF_NETLINK &&
		  !getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &proto, &proto_len) &&
		  proto == NETLINK_NETFILTER;
	return *is_one ? me.nl_pid : 0;
}

/** library_socket - among the descriptors from @first on, or -1; closed at exec from now on */
static int library_socket(int first)
{
	bool is_one;
	int fd;

	for (fd = first; fd < first + 8; fd++) {
		netfilter_port(fd, &is_one);
		if (is_one) {
			fcntl(fd, F_SETFD, FD_CLOEXEC);
			return fd;
		}
	}
	return -1;
}

/** lowest_free_fd - where the next descriptor will be; -errno */
static int lowest_free_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return fd;
}

int nft_open(struct nft **out)
{
	struct nft *n = calloc(1, sizeof(*n));
	int first, err;

	*out = NULL;
	if (!n)
		return -ENOMEM;
	/* ours first: where there can be no such socket the library would end the process */
	err = nlmsg_open(&n->nl, NETLINK_NETFILTER);
	if (err)
		goto fail;
	first = lowest_free_fd();
	err = first < 0 ? first : -ENOMEM;
	n->lib = first < 0 ? NULL : nft_ctx_new(NFT_CTX_DEFAULT);
	if (!n->lib || nft_ctx_buffer_output(n->lib) || nft_ctx_buffer_error(n->lib))
		goto fail;
	n->lib_fd = library_socket(first);
	*out = n;
	return 0;
fail:
	nft_close(n);
	return err;
}

void nft_close(struct nft *n)
{
	if (!n)
		return;
	if (n->lib)
		nft_ctx_free(n->lib);
	nlmsg_close(&n->nl);
	free(n);
}

/**
 * error_line - the library's complaint as one line: "Error: what", and the text it means
 *
 * In a text of several lines it shows the first one whichever it means: that is left out.
 */
static void error_line(const char *said, const char *text, char *err, size_t size)
{
	size_t first = strcspn(said, "\n");
	const char *nl = strchr(text, '\n');

	if (!first)
		snprintf(err, size, "nftables gave no reason");
	else if (nl && nl[1])
		snprintf(err, size, "%.*s", (int)first, said);
	else
		snprintf(err, size, "%.*s: %.*s", (int)first, said, (int)strcspn(text, "\n"), text);
}

int nft_apply(struct nft *n, const char *text, char *err, size_t errsize)
{
	if (errsize)
		*err = '\0';
	if (!nft_run_cmd_from_buffer(n->lib, text))
		return 0;
	error_line(nft_ctx_get_error_buffer(n->lib), text, err, errsize);
	return -EINVAL;
}

static bool name_is_plain(const char *table)
{
	const char *c;

	for (c = table; *c; c++)
		if (!isalnum((unsigned char)*c) && *c != '_')
			return false;
	return c != table && c - table < NFT_TABLE_MAXNAMELEN;
}

/** table_ask - 0: it exists, -ENOENT, -errno */
static int table_ask(struct nft *n, uint8_t family, const char *table)
{
	struct nlmsghdr *nlh =
		nlmsg_request(&n->nl, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, NLM_F_ACK);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));

	if (!name_is_plain(table))
		return -EINVAL;
	g->nfgen_family = family;
	g->version = NFNETLINK_V0;
	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, table);
	return nlmsg_talk(&n->nl, nlh, NULL, NULL);
}

bool nft_table_exists(struct nft *n, const char *table)
{
	return table_ask(n, NFPROTO_INET, table) == 0;
}

static int family_delete(struct nft *n, uint8_t family, const char *name, const char *table)
{
	char text[NFT_TABLE_MAXNAMELEN + 32], err[128];
	int r = table_ask(n, family, table);

	if (r)
		return r;
	snprintf(text, sizeof(text), "delete table %s %s", name, table);
	r = nft_apply(n, text, err, sizeof(err));
	/* somebody else may have been faster */
	return r && table_ask(n, family, table) == -ENOENT ? -ENOENT : r;
}

int nft_table_delete(struct nft *n, const char *table)
{
	const int inet = family_delete(n, NFPROTO_INET, "inet", table);
	const int netdev = family_delete(n, NFPROTO_NETDEV, "netdev", table);

	if (inet && inet != -ENOENT)
		return inet;
	return netdev == -ENOENT ? inet : netdev;
}

/* --- elements ------------------------------------------------------------------------- */

#define BATCH_BYTES (160 << 10) /* what is sent as one must fit into the socket's buffer */
#define BATCH_FULL  (128 << 10) /* leaves room for the largest message */
#define MESSAGE_IDS 1000	/* a list of them has 16 bits for its length in bytes */

/** struct batch - messages of one transaction, in the making */
struct batch {
	struct nlmsg *nl;
	struct mnl_nlmsg_batch *b;
	unsigned last; /* sequence number of the newest change */
};

static struct nlmsghdr *batch_message(struct batch *t, uint16_t type, uint16_t flags,
				      uint16_t res_id)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(mnl_nlmsg_batch_current(t->b));
	struct nfgenmsg *g;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = ++t->nl->seq;
	g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));
	g->nfgen_family = NFPROTO_INET;
	g->version = NFNETLINK_V0;
	g->res_id = htons(res_id);
	return nlh;
}

static struct nlmsghdr *batch_elements(struct batch *t, uint16_t type, uint16_t flags,
				       const char *table, const char *set)
{
	struct nlmsghdr *nlh = batch_message(t, NFNL_SUBSYS_NFTABLES << 8 | type, flags, 0);

	t->last = nlh->nlmsg_seq;
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, table);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set);
	return nlh;
}

static void put_id(struct nlmsghdr *nlh, uint64_t id)
{
	struct nlattr *elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	struct nlattr *key = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_KEY);

	mnl_attr_put(nlh, NFTA_DATA_VALUE, sizeof(id), &id);
	mnl_attr_nest_end(nlh, key);
	mnl_attr_nest_end(nlh, elem);
}

/** batch_ids - a message for each run of ids of one set; returns how many there was room for */
static size_t batch_ids(struct batch *t, const char *table, const struct nft_id *ids, size_t n)
{
	size_t i = 0;

	while (i < n && mnl_nlmsg_batch_size(t->b) < BATCH_FULL) {
		const char *set = ids[i].set;
		struct nlmsghdr *nlh =
			batch_elements(t, NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_ACK, table, set);
		struct nlattr *list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);

		for (size_t in = 0; in < MESSAGE_IDS && i < n && !strcmp(ids[i].set, set); in++)
			put_id(nlh, ids[i++].id);
		mnl_attr_nest_end(nlh, list);
		mnl_nlmsg_batch_next(t->b);
	}
	return i;
}

/** batch_flush - each set that is in @ids */
static void batch_flush(struct batch *t, const char *table, const struct nft_id *ids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t before = 0;

		while (before < i && strcmp(ids[before].set, ids[i].set) != 0)
			before++;
		if (before < i)
			continue;
		batch_elements(t, NFT_MSG_DELSETELEM, NLM_F_ACK, table, ids[i].set);
		mnl_nlmsg_batch_next(t->b);
	}
}
/** batch_answer - the kernel has dealt with all of it before it was sent: 0 or the first -errno */
static int batch_answer(struct batch *t)
{
	const int fd = mnl_socket_get_fd(t->nl->nl);
	bool answered = false;
	int err = 0;
	ssize_t n;

	while ((n = recv(fd, t->nl->buf, sizeof(t->nl->buf), MSG_DONTWAIT)) > 0) {
		const struct nlmsghdr *nlh = (const void *)t->nl->buf;

		for (int left = (int)n; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
			const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);

			if (nlh->nlmsg_type != NLMSG_ERROR ||
			    mnl_nlmsg_get_payload_len(nlh) < sizeof(*e))
				continue;
			err = err ? err : e->error;
			answered |= nlh->nlmsg_seq == t->last;
		}
	}
	return err || answered ? err : -EIO;
}

/** ids_some - one transaction of as many as fit; returns how many that are, or -errno */
static ssize_t ids_some(struct nft *n, const char *table, const struct nft_id *ids, size_t n_ids,
			bool anew, char *buf)
{
	struct batch t = {.nl = &n->nl, .b = mnl_nlmsg_batch_start(buf, BATCH_BYTES)};
	ssize_t rc = -ENOMEM, done;

	if (!t.b)
		return rc;
	batch_message(&t, NFNL_MSG_BATCH_BEGIN, 0, NFNL_SUBSYS_NFTABLES);
	mnl_nlmsg_batch_next(t.b);
	if (anew)
		batch_flush(&t, table, ids, n_ids);
	done = (ssize_t)batch_ids(&t, table, ids, n_ids);
	batch_message(&t, NFNL_MSG_BATCH_END, 0, NFNL_SUBSYS_NFTABLES);
	mnl_nlmsg_batch_next(t.b);
	rc = mnl_socket_sendto(n->nl.nl, mnl_nlmsg_batch_head(t.b), mnl_nlmsg_batch_size(t.b));
	rc = rc < 0 ? -errno : batch_answer(&t);
	mnl_nlmsg_batch_stop(t.b);
	return rc ? rc : done;
}

int nft_ids_add(struct nft *n, const char *table, const struct nft_id *ids, size_t n_ids, bool anew)
{
	char *buf =
		malloc(2 * BATCH_BYTES); /* libmnl wants room for one message beyond the limit */
	ssize_t done = buf ? 0 : -ENOMEM;

	for (size_t i = 0; done >= 0 && i < n_ids; i += (size_t)done) {
		done = ids_some(n, table, ids + i, n_ids - i, anew, buf);
		anew = false;
	}
	free(buf);
	return done < 0 ? (int)done : 0;
}

/* --- changes -------------------------------------------------------------------------- */

struct heard {
	uint32_t own;
	bool deleted;
};

static bool is_deletion(uint16_t type)
{
	if (type >> 8 != NFNL_SUBSYS_NFTABLES)
		return false;
	switch (type & 0xff) {
	case NFT_MSG_DELTABLE:
	case NFT_MSG_DELCHAIN:
	case NFT_MSG_DELRULE:
	case NFT_MSG_DELSET:
	case NFT_MSG_DELOBJ:
	case NFT_MSG_DELFLOWTABLE:
		return true;
	default:
		return false;
	}
}

static void on_change(void *ctx, const struct nlmsghdr *nlh)
{
	struct heard *h = ctx;
	struct nlattr *at;

	if ((h->own && nlh->nlmsg_pid == h->own) || !is_deletion(nlh->nlmsg_type) ||
	    mnl_nlmsg_get_payload_len(nlh) < sizeof(struct nfgenmsg))
		return;
	mnl_attr_for_each(at, nlh, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(at) == ATTR_TABLE &&
		    mnl_attr_validate(at, MNL_TYPE_NUL_STRING) >= 0 &&
		    !strncmp(mnl_attr_get_str(at), TABLE_PREFIX, strlen(TABLE_PREFIX)))
			h->deleted = true;
	}
}

int nft_watch_open(void)
{
	static const unsigned group = NFNLGRP_NFTABLES;

	return nlmsg_watch_open(NETLINK_NETFILTER, &group, 1);
}

int nft_watch_read(int fd, const struct nft *own)
{
	bool is_one;
	struct heard h = {.own = own ? netfilter_port(own->lib_fd, &is_one) : 0};
	int r = nlmsg_watch_read(fd, on_change, &h);

	if (r == -ENOBUFS)
		return 1;
	return r < 0 ? r : h.deleted;
}
