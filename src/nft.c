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
static int table_ask(struct nft *n, const char *table)
{
	struct nlmsghdr *nlh =
		nlmsg_request(&n->nl, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, NLM_F_ACK);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));

	if (!name_is_plain(table))
		return -EINVAL;
	g->nfgen_family = NFPROTO_INET;
	g->version = NFNETLINK_V0;
	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, table);
	return nlmsg_talk(&n->nl, nlh, NULL, NULL);
}

bool nft_table_exists(struct nft *n, const char *table)
{
	return table_ask(n, table) == 0;
}

int nft_table_delete(struct nft *n, const char *table)
{
	char text[NFT_TABLE_MAXNAMELEN + 32], err[128];
	int r = table_ask(n, table);

	if (r)
		return r;
	snprintf(text, sizeof(text), "delete table inet %s", table);
	r = nft_apply(n, text, err, sizeof(err));
	/* somebody else may have been faster */
	return r && table_ask(n, table) == -ENOENT ? -ENOENT : r;
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
