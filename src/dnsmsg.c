/* SPDX-License-Identifier: MIT */
/*
 * dnsmsg: the reader of DNS answers (RFC 1035), which are hostile bytes.
 *
 * Every name is expanded with a bound on labels followed, every compression pointer
 * must point in front of where it stands, every record is checked against the message's
 * end before it is read. The records of the answer section may come in any order,
 * so the CNAME chain is followed by passes over them until nothing moves.
 */
#include "names.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/util.h"

#define DNS_HEADER    12
#define DNS_QR	      0x8000
#define DNS_OPCODE    0x7800
#define DNS_TC	      0x0200
#define DNS_RCODE     0x000f
#define TYPE_A	      1
#define TYPE_CNAME    5
#define TYPE_AAAA     28
#define CLASS_IN      1
#define WIRE_NAME_MAX 255
#define POINTERS_MAX  16	  /* followed in one name */
#define RECORDS_MAX   64	  /* answer records looked at: with the next, bounds the work */
#define CHAIN_MAX     8		  /* CNAMEs followed */
#define TTL_MAX	      0x7fffffffu /* RFC 2181, 8: above is zero */

/* struct name - an expanded name in wire form, lower case: compared as memory */
struct name {
	uint8_t len;
	uint8_t b[WIRE_NAME_MAX];
};

struct reader {
	const uint8_t *msg;
	size_t len, at;
};

struct record_view {
	struct name owner;
	uint16_t type, class, rdlen;
	uint32_t ttl;
	size_t rdata;
};

static uint8_t fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

/* name_label - append the label at @at; false when it does not fit message or name */
static bool name_label(const struct reader *r, size_t at, struct name *n)
{
	size_t len = r->msg[at], i;

	if (at + 1 + len > r->len || n->len + 1 + len + 1 > WIRE_NAME_MAX)
		return false;
	n->b[n->len++] = (uint8_t)len;
	for (i = 0; i < len; i++)
		n->b[n->len++] = fold(r->msg[at + 1 + i]);
	return true;
}

/*
 * read_name - expand the name at r->at and step behind it
 *
 * A pointer must go to before the place it is met at, and before all earlier
 * ones: so it can't loop. The count bounds the work of long chains.
 */
static bool read_name(struct reader *r, struct name *n)
{
	size_t at = r->at, low = r->at, after = 0;
	unsigned pointers = 0;

	n->len = 0;
	for (;;) {
		if (at >= r->len)
			return false;
		if (!r->msg[at]) {
			n->b[n->len++] = 0;
			r->at = after ? after : at + 1;
			return true;
		}
		if ((r->msg[at] & 0xc0) == 0xc0) {
			size_t to;

			if (at + 2 > r->len || ++pointers > POINTERS_MAX)
				return false;
			to = get_be16(r->msg + at) & 0x3fff;
			if (to >= low)
				return false;
			after = after ? after : at + 2;
			at = low = to;
		} else if (r->msg[at] & 0xc0 || !name_label(r, at, n)) {
			return false;
		} else {
			at += 1 + (size_t)r->msg[at];
		}
	}
}

static bool name_equal(const struct name *a, const struct name *b)
{
	return a->len == b->len && !memcmp(a->b, b->b, a->len);
}

/*
 * name_text - labels with dots; bytes that no host name has, and dots within a
 * label, as '?': the text can't pass for another name or break a terminal
 */
static void name_text(const struct name *n, char out[NAMES_HOST_MAX])
{
	size_t at = 0, o = 0, i;

	while (n->b[at]) {
		if (o)
			out[o++] = '.';
		for (i = 1; i <= n->b[at]; i++) {
			uint8_t c = n->b[at + i];
			bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
				    c == '_';

			out[o++] = good ? (char)c : '?';
		}
		at += 1 + (size_t)n->b[at];
	}
	out[o] = '\0';
}

static bool read_record(struct reader *r, struct record_view *v)
{
	if (!read_name(r, &v->owner) || r->at + 10 > r->len)
		return false;
	v->type = get_be16(r->msg + r->at);
	v->class = get_be16(r->msg + r->at + 2);
	v->ttl = get_be32(r->msg + r->at + 4);
	v->ttl = v->ttl > TTL_MAX ? 0 : v->ttl;
	v->rdlen = get_be16(r->msg + r->at + 8);
	v->rdata = r->at + 10;
	if (v->rdata + v->rdlen > r->len)
		return false;
	r->at = v->rdata + v->rdlen;
	return true;
}

/* read_question - exactly one of class IN, and an answer without error */
static int read_question(struct reader *r, struct name *qname, struct dnsmsg *out)
{
	uint16_t flags;

	if (r->len < DNS_HEADER)
		return -EBADMSG;
	flags = get_be16(r->msg + 2);
	if (!(flags & DNS_QR) || flags & DNS_OPCODE)
		return -ENOENT;
	if (get_be16(r->msg + 4) != 1)
		return -EBADMSG;
	r->at = DNS_HEADER;
	if (!read_name(r, qname) || r->at + 4 > r->len)
		return -EBADMSG;
	out->qtype = get_be16(r->msg + r->at);
	if (get_be16(r->msg + r->at + 2) != CLASS_IN)
		return -ENOENT;
	r->at += 4;
	out->rcode = (uint8_t)(flags & DNS_RCODE);
	return 0;
}

/* add_addr - an A or AAAA record of @name; @ttl is the smallest of the chain so far */
static void add_addr(const struct reader *r, const struct record_view *v, uint32_t ttl,
		     struct dnsmsg *out)
{
	struct dnsmsg_addr *a = &out->addrs[out->n];

	if (out->n == ARRAY_SIZE(out->addrs))
		return;
	if (v->type == TYPE_A && v->rdlen == 4)
		a->addr = addr_from_v4(r->msg + v->rdata);
	else if (v->type == TYPE_AAAA && v->rdlen == 16)
		a->addr = addr_from_v6(r->msg + v->rdata);
	else
		return;
	a->ttl = MIN(ttl, v->ttl);
	out->n++;
}

/*
 * next_cname - one pass over the answer section: where does @name lead?
 *
 * Takes the addresses of @name on the way. Returns 1 and the new @name and @ttl, 0 when the chain
 * ends here, or -EBADMSG. A message that was cut (TC) is read as far as it goes.
 */
static int next_cname(struct reader r, unsigned count, bool cut, struct name *name, uint32_t *ttl,
		      struct dnsmsg *out)
{
	struct record_view v;
	struct name target;
	bool moved = false;
	uint32_t next_ttl = *ttl;

	while (count--) {
		struct reader rd = r;

		if (!read_record(&r, &v))
			return cut ? 0 : -EBADMSG;
		if (v.class != CLASS_IN || !name_equal(&v.owner, name))
			continue;
		if (v.type != TYPE_CNAME) {
			add_addr(&r, &v, *ttl, out);
			continue;
		}
		rd.at = v.rdata;
		rd.len = v.rdata + v.rdlen;
		if (!read_name(&rd, &target))
			return -EBADMSG;
		next_ttl = MIN(*ttl, v.ttl);
		moved = true;
	}
	if (moved) {
		*name = target;
		*ttl = next_ttl;
	}
	return moved;
}

int dnsmsg_parse(const uint8_t *msg, size_t len, struct dnsmsg *out)
{
	struct reader r = {.msg = msg, .len = len};
	uint32_t ttl = TTL_MAX;
	struct name name;
	unsigned hops, count;
	int err;

	memset(out, 0, sizeof(*out));
	err = read_question(&r, &name, out);
	if (err)
		return err;
	name_text(&name, out->name);
	count = MIN(get_be16(msg + 6), RECORDS_MAX);
	for (hops = 0; hops <= CHAIN_MAX; hops++) {
		err = next_cname(r, count, get_be16(msg + 2) & DNS_TC, &name, &ttl, out);
		if (err <= 0)
			break;
	}
	if (err < 0 || hops > CHAIN_MAX)
		return -EBADMSG;
	return 0;
}
