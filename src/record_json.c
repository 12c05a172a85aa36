/* SPDX-License-Identifier: MIT */
/*
 * record_json: one flow, or one who listens, as one JSON object.
 *
 * Names and meanings follow Suricata's EVE format where it has them, except that
 * flow.bytes_* count payload (weir sees no more of what really goes out), and that
 * flow.reason can only be the nearest of EVE's few words; the exact one is weir.reason.
 * Text that came from outside may hold any byte: what is not UTF-8 becomes U+FFFD.
 */
#include "record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "expr.h"

#include "base/clock.h"
#include "base/util.h"

#define JSON_DIGITS 12 /* significant digits of a real: microseconds of long flows */
#define UID_NONE    ((uint32_t)-1)

/* utf8_len - bytes of the valid UTF-8 sequence at @p, 0 when there is none */
static size_t utf8_len(const unsigned char *p)
{
	size_t n = p[0] < 0x80			 ? 1
		   : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
		   : (p[0] & 0xf0) == 0xe0	 ? 3
		   : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
						 : 0,
	       i;

	for (i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

/* json_text - a string of at most @size hostile bytes */
static json_t *json_text(const char *text, size_t size)
{
	size_t len = strnlen(text, size), i = 0, o = 0, n;
	char *copy = calloc(1, len + 4), *good = malloc(len * 3 + 1);
	json_t *j = NULL;

	if (copy && good) {
		memcpy(copy, text, len); /* zeros behind it: a cut sequence is seen as such */
		while (i < len) {
			n = utf8_len((const unsigned char *)copy + i);
			memcpy(good + o, n ? copy + i : "\xef\xbf\xbd", n ? n : 3);
			o += n ? n : 3;
			i += n ? n : 1;
		}
		j = json_stringn(good, o);
	}
	free(copy);
	free(good);
	return j;
}

#define set_text(obj, key, text) json_object_set_new(obj, key, json_text(text, sizeof(text)))

static void set_word(json_t *o, const char *key, const char *word)
{
	json_object_set_new(o, key, json_string(word));
}

static void set_number(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static void set_ms(json_t *o, const char *key, uint64_t from, uint64_t to)
{
	uint64_t us = to > from ? (to - from) / NSEC_PER_USEC : 0;

	if (to > from)
		json_object_set_new(o, key, json_real((double)us / 1000));
}

static void set_time(json_t *o, const char *key, uint64_t wall)
{
	time_t s = (time_t)(wall / NSEC_PER_SEC);
	char day[32], text[48];
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%s.%06u+0000", day,
		 (unsigned)(wall % NSEC_PER_SEC / NSEC_PER_USEC));
	set_word(o, key, text);
}

static void set_errno(json_t *o, const char *key, int err)
{
	const char *name = err > 0 ? strerrorname_np(err) : NULL;
	char number[16];

	if (!err)
		return;
	snprintf(number, sizeof(number), "%d", err);
	set_word(o, key, name ? name : number);
}

static const char *proto_name(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return "TCP";
	case IPPROTO_UDP:
		return "UDP";
	case IPPROTO_ICMP:
		return "ICMP";
	case IPPROTO_ICMPV6:
		return "IPv6-ICMP";
	default:
		return NULL;
	}
}

static void set_tuple(json_t *o, const struct flow_rec *f)
{
	char text[ADDR_STRLEN], number[8];
	const char *proto = proto_name(f->proto);
	bool echo = f->proto == IPPROTO_ICMP || f->proto == IPPROTO_ICMPV6;
	bool ports = f->proto == IPPROTO_TCP || f->proto == IPPROTO_UDP;
	const struct addrport *src = f->inbound ? &f->net : &f->app;
	const struct addrport *dest = f->inbound ? &f->app : &f->net;

	set_word(o, "src_ip", addr_format(&src->addr, text));
	if (ports)
		set_number(o, "src_port", src->port);
	set_word(o, "dest_ip", addr_format(&dest->addr, text));
	if (ports)
		set_number(o, "dest_port", dest->port);
	snprintf(number, sizeof(number), "%u", f->proto);
	set_word(o, "proto", proto ? proto : number);
	if (echo) {
		set_number(o, "icmp_type", f->proto == IPPROTO_ICMP ? 8 : 128);
		set_number(o, "icmp_code", 0);
	}
}

static const char *eve_state(const struct flow_rec *f)
{
	if (f->proto == IPPROTO_TCP && f->reason != FLOW_ENDED_NOT && f->connected)
		return "closed";
	return f->connected || f->down.packets ? "established" : "new";
}

static const char *eve_reason(const struct flow_rec *f)
{
	switch (f->reason) {
	case FLOW_ENDED_SHUTDOWN:
		return "shutdown";
	case FLOW_ENDED_BLOCKED:
	case FLOW_ENDED_LIMIT:
	case FLOW_ENDED_EVICTED:
	case FLOW_ENDED_CRASH:
	case FLOW_ENDED_UNSUPPORTED:
		return "forced";
	default:
		return "timeout"; /* EVE's word for every flow that came to its end */
	}
}

static uint64_t end_wall(const struct flow_rec *f)
{
	uint64_t end = f->end ? f->end : f->last;

	return f->start_wall + (end > f->start ? end - f->start : 0);
}

static json_t *flow_json(const struct flow_rec *f)
{
	const struct flow_side *client = f->inbound ? &f->down : &f->up;
	const struct flow_side *server = f->inbound ? &f->up : &f->down;
	json_t *o = json_object();

	set_number(o, "pkts_toserver", client->packets);
	set_number(o, "pkts_toclient", server->packets);
	set_number(o, "bytes_toserver", client->bytes);
	set_number(o, "bytes_toclient", server->bytes);
	set_time(o, "start", f->start_wall);
	set_time(o, "end", end_wall(f));
	set_number(o, "age", (end_wall(f) - f->start_wall) / NSEC_PER_SEC);
	set_word(o, "state", eve_state(f));
	if (f->reason != FLOW_ENDED_NOT)
		set_word(o, "reason", eve_reason(f));
	return o;
}

static json_t *parents_json(const struct owner *w)
{
	json_t *list = json_array();
	unsigned i;

	for (i = 0; i < MIN(w->parents_len, OWNER_PARENTS_MAX); i++) {
		json_t *p = json_object();

		set_number(p, "pid", (uint64_t)w->parents[i].pid);
		set_text(p, "comm", w->parents[i].comm);
		if (w->parents[i].exe[0])
			set_text(p, "exe", w->parents[i].exe);
		json_array_append_new(list, p);
	}
	return list;
}

static void set_process(json_t *o, const struct owner *w)
{
	set_word(o, "source", owner_source_text(w->source));
	set_text(o, "user", w->user);
	set_number(o, "gid", w->gid);
	set_number(o, "pid", (uint64_t)w->pid);
	set_number(o, "start", w->start_ns);
	set_text(o, "comm", w->comm);
	set_text(o, "exe", w->exe);
	set_text(o, "cmdline", w->cmdline);
	set_text(o, "cgroup", w->cgroup);
	json_object_set_new(o, "parents", parents_json(w));
}

/*
 * owner_uid - of the process when it used the socket, where that was noted; else the
 * socket's: the process may have become somebody else since
 */
static uint32_t owner_uid(const struct flow_rec *f, const struct owner *w)
{
	if (w && (w->source == OWNER_BY_BPF || f->owner_uid == UID_NONE))
		return w->uid;
	return f->owner_uid;
}

static json_t *owner_json(const struct flow_rec *f, const struct owner *w)
{
	json_t *o = json_object();

	if (owner_uid(f, w) != UID_NONE)
		set_number(o, "uid", owner_uid(f, w));
	if (f->owner_uid != UID_NONE)
		set_number(o, "socket_uid", f->owner_uid);
	if (w)
		set_process(o, w);
	if (f->cookie)
		set_number(o, "cookie", f->cookie);
	if (f->inode)
		set_number(o, "inode", f->inode);
	if (!w)
		set_word(o, "why", owner_why_text(f->owner_why));
	return o;
}

static const char *side_end(const struct flow_side *s)
{
	return s->rst ? "rst" : s->fin ? "fin" : "open";
}

/* --- what was learnt: EVE's names, each under the object that it has in its own records ------ */

static json_t *learnt_text(const struct learnt *l, unsigned field, unsigned i)
{
	const char *text;
	size_t len;

	return learnt_get(l, field, i, &text, &len) == LEARNT_VALUE ? json_text(text, len) : NULL;
}

static void set_learnt(json_t *o, const char *key, const struct learnt *l, unsigned field)
{
	json_t *text = learnt_text(l, field, 0);

	if (text)
		json_object_set_new(o, key, text);
}

static void set_list(json_t *o, const char *key, const struct learnt *l, unsigned field)
{
	json_t *list = NULL, *text;

	for (unsigned i = 0; (text = learnt_text(l, field, i)); i++) {
		if (!list)
			list = json_array();
		json_array_append_new(list, text);
	}
	if (list)
		json_object_set_new(o, key, list);
}

/* set_object - unless it is empty */
static void set_object(json_t *o, const char *key, json_t *object)
{
	if (json_object_size(object))
		json_object_set_new(o, key, object);
	else
		json_decref(object);
}

static void set_names(json_t *o, const struct learnt *l)
{
	json_t *tls = json_object(), *ja3 = json_object(), *http = json_object();

	set_learnt(o, "app_proto", l, EXPR_F_APP);
	set_learnt(tls, "sni", l, EXPR_F_SNI);
	set_list(tls, "client_alpns", l, EXPR_F_ALPN);
	set_learnt(ja3, "hash", l, EXPR_F_JA3);
	set_object(tls, "ja3", ja3);
	set_learnt(tls, "ja4", l, EXPR_F_JA4);
	set_object(o, "tls", tls);
	set_learnt(http, "hostname", l, EXPR_F_HTTP_HOST);
	set_learnt(http, "http_method", l, EXPR_F_HTTP_METHOD);
	set_learnt(http, "url", l, EXPR_F_HTTP_PATH);
	set_object(o, "http", http);
}

const char *record_host(const struct record_more *more, const char *dns_name,
			char text[FLOW_HOST_MAX])
{
	static const unsigned fields[] = {EXPR_F_HTTP_HOST, EXPR_F_SNI};
	const char *name;
	size_t len;

	for (size_t i = 0; more && more->learnt && i < ARRAY_SIZE(fields); i++) {
		if (learnt_get(more->learnt, fields[i], 0, &name, &len) != LEARNT_VALUE)
			continue;
		len = MIN(len, FLOW_HOST_MAX - 1);
		memcpy(text, name, len);
		text[len] = '\0';
		return text;
	}
	return dns_name;
}

/* set_host - the best name, and the resolver's where that is another one */
static void set_host(json_t *o, const struct record_more *more, const char *dns_name)
{
	char text[FLOW_HOST_MAX];
	const char *host = record_host(more, dns_name, text);

	if (host && *host)
		json_object_set_new(o, "host", json_text(host, FLOW_HOST_MAX));
	if (dns_name && *dns_name && strcmp(dns_name, host) != 0)
		json_object_set_new(o, "dns_name", json_text(dns_name, FLOW_HOST_MAX));
}

static json_t *weir_json(const struct flow_rec *f, const struct owner *w, const char *host,
			 const struct record_more *more)
{
	json_t *o = json_object(), *end = json_object();

	set_word(o, "direction", f->inbound ? "in" : "out");
	if (f->host_port)
		set_number(o, "published_port", f->host_port);
	if (f->orig_port)
		set_number(o, "orig_port", f->orig_port);
	json_object_set_new(o, "owner", owner_json(f, w));
	set_host(o, more, host);
	set_ms(o, "connect_ms", f->start, f->connected);
	set_ms(o, "first_byte_ms", f->start, f->first_byte);
	set_word(o, "verdict", flow_verdict_text(f->verdict));
	if (more && more->rule)
		set_word(o, "rule", more->rule);
	if (more && more->learnt)
		set_list(o, "tags", more->learnt, EXPR_F_TAG);
	set_word(o, "reason", flow_reason_text(f->reason));
	if (f->proto == IPPROTO_TCP) {
		set_word(end, "app", side_end(&f->up));
		set_word(end, "net", side_end(&f->down));
	}
	set_errno(end, "app_errno", f->app_errno);
	set_errno(end, "net_errno", f->net_errno);
	json_object_set_new(o, "close", end);
	if (f->icmp_ident)
		set_number(o, "icmp_ident", f->icmp_ident);
	return o;
}

/* whole - all but the kind of the record */
static json_t *whole(const struct flow_rec *f, const struct owner *w, const char *host,
		     const struct record_more *more, const char *type, uint64_t wall)
{
	json_t *o = json_object();
	char id[32];

	set_time(o, "timestamp", wall);
	set_number(o, "flow_id", f->id & INT64_MAX);
	set_word(o, "event_type", type);
	set_tuple(o, f);
	record_community_id(f, id);
	if (*id)
		set_word(o, "community_id", id);
	json_object_set_new(o, "flow", flow_json(f));
	if (more && more->learnt)
		set_names(o, more->learnt);
	json_object_set_new(o, "weir", weir_json(f, w, host, more));
	return o;
}

static char *dump(json_t *o)
{
	char *line = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(JSON_DIGITS));

	json_decref(o);
	return line;
}

char *record_listen_json(const struct record_listen *l, const struct owner *w, uint64_t wall)
{
	const struct flow_rec who = {
		.owner_uid = l->uid, .owner_why = l->why, .inode = l->inode, .proto = l->proto};
	json_t *o = json_object(), *weir = json_object();
	char text[ADDR_STRLEN], *line;
	const char *proto = proto_name(l->proto);

	set_time(o, "timestamp", wall);
	set_word(o, "event_type", "listen");
	set_word(o, "dest_ip", addr_format(&l->at.addr, text));
	set_number(o, "dest_port", l->at.port);
	set_word(o, "proto", proto ? proto : "");
	set_word(weir, "state", l->listens ? "listening" : "closed");
	json_object_set_new(weir, "owner", owner_json(&who, w));
	json_object_set_new(o, "weir", weir);
	line = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return line;
}

char *record_json(const struct flow_rec *f, const struct owner *w, const char *host,
		  const struct record_more *more)
{
	return dump(whole(f, w, host, more, "flow", end_wall(f)));
}

/* type_allowed - a hook's records can't be taken for weir's */
static bool type_allowed(const char *type)
{
	static const char *const ours[] = {"flow", "weir", "listen", "timestamp", "flow_id"};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (!strcmp(type, ours[i]))
			return false;
	for (const char *p = type; *p; p++)
		if ((*p < 'a' || *p > 'z') && (*p < 'A' || *p > 'Z') && (*p < '0' || *p > '9') &&
		    *p != '-' && *p != '_')
			return false;
	return *type && strlen(type) < 32;
}

char *record_hook_json(const struct flow_rec *f, const struct owner *w, const char *host,
		       const char *type, const char *json, uint64_t wall)
{
	json_t *theirs = type_allowed(type) ? json_loads(json, JSON_REJECT_DUPLICATES, NULL) : NULL;
	json_t *o, *weir;

	if (!json_is_object(theirs)) {
		json_decref(theirs);
		return NULL;
	}
	o = json_object();
	set_time(o, "timestamp", wall);
	set_number(o, "flow_id", f->id & INT64_MAX);
	set_word(o, "event_type", type);
	set_tuple(o, f);
	weir = json_object();
	json_object_set_new(weir, "owner", owner_json(f, w));
	if (host && *host)
		json_object_set_new(weir, "host", json_text(host, FLOW_HOST_MAX));
	json_object_set_new(o, "weir", weir);
	json_object_set_new(o, type, theirs);
	return dump(o);
}

char *record_event_json(const struct flow_rec *f, const struct owner *w, const char *host,
			const struct record_more *more, const char *event, uint64_t wall)
{
	json_t *o = whole(f, w, host, more, "weir", wall);

	set_word(json_object_get(o, "weir"), "event", event);
	return dump(o);
}
