/* SPDX-License-Identifier: MIT */
/* processor_say: events as lines of JSON, with payload in them or behind them. */
#include "processor_hook.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- bytes ------------------------------------------------------------------------------- */

static int grow(struct bytes *b, size_t n)
{
	size_t cap = b->cap ? b->cap : 4096;
	uint8_t *p;

	if (b->off && b->off + b->len + n > b->cap) {
		memmove(b->p, b->p + b->off, b->len);
		b->off = 0;
	}
	if (b->len + n <= b->cap)
		return 0;
	while (cap < b->len + n)
		cap *= 2;
	p = realloc(b->p, cap);
	if (!p)
		return -1;
	b->p = p;
	b->cap = cap;
	return 0;
}

void bytes_add(struct bytes *b, const void *data, size_t n)
{
	if (b->failed || (b->off + b->len + n > b->cap && grow(b, n))) {
		b->failed = true;
		return;
	}
	if (n)
		memcpy(b->p + b->off + b->len, data, n);
	b->len += n;
}

void bytes_drop(struct bytes *b, size_t n)
{
	b->off += n;
	b->len -= n;
	if (!b->len)
		b->off = 0;
}

void bytes_free(struct bytes *b)
{
	free(b->p);
	*b = (struct bytes){.p = NULL};
}

/* --- pieces of a line ------------------------------------------------------------------------ */

static void put(void *ctx, const char *text, size_t len)
{
	bytes_add(ctx, text, len);
}

__attribute__((format(printf, 2, 3))) static void add(struct processor *p, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	bytes_add(&p->out, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

/** text - ,"key":"value"; nothing where it is not known */
static void add_text(struct processor *p, const char *key, const char *value)
{
	if (!value || !*value)
		return;
	add(p, ",\"%s\":", key);
	json_escape(value, strlen(value), JSON_TEXT, put, &p->out);
}

static void add_number(struct processor *p, const char *key, int64_t value)
{
	if (value >= 0)
		add(p, ",\"%s\":%lld", key, (long long)value);
}

/** begin - what needs an answer begins with {"id", so that a shell script can tell */
static void begin(struct processor *p, uint64_t id, const char *event)
{
	if (id)
		add(p, "{\"id\":%llu,\"event\":\"%s\"", (unsigned long long)id, event);
	else
		add(p, "{\"event\":\"%s\"", event);
}

static void end(struct processor *p)
{
	bytes_add(&p->out, "}\n", 2);
}

static const char *dir_text(enum weir_dir dir)
{
	return dir == WEIR_UP ? "up" : "down";
}

static void add_endpoint(struct processor *p, const char *key, const struct weir_endpoint *e)
{
	add(p, ",\"%s\":{\"ip\":\"%.64s\",\"port\":%u}", key, e->ip, e->port);
}

static void add_owner(struct processor *p, const struct weir_owner *o)
{
	add(p, ",\"owner\":{\"source\":");
	json_escape(o->source, strlen(o->source), JSON_TEXT, put, &p->out);
	add_number(p, "uid", o->uid);
	add_number(p, "gid", o->gid);
	add_number(p, "socket_uid", o->socket_uid);
	add_number(p, "pid", o->pid);
	add_text(p, "user", o->user);
	add_text(p, "comm", o->comm);
	add_text(p, "exe", o->exe);
	add_text(p, "cmdline", o->cmdline);
	add_text(p, "cgroup", o->cgroup);
	add(p, ",\"parents\":[");
	for (unsigned i = 0; i < o->n_parents; i++) {
		add(p, "%s{\"pid\":%lld", i ? "," : "", (long long)o->parent_pid[i]);
		add_text(p, "comm", o->parent_comm[i]);
		add(p, "}");
	}
	add(p, "]}");
}

static const char *proto_text(unsigned proto)
{
	static char number[8];

	switch (proto) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_ICMP:
		return "icmp";
	case IPPROTO_ICMPV6:
		return "icmpv6";
	default:
		snprintf(number, sizeof(number), "%u", proto);
		return number;
	}
}

/* --- events -------------------------------------------------------------------------------------
 */

void say_hello(struct processor *p)
{
	begin(p, 0, "hello");
	add(p, ",\"version\":1,\"format\":\"%s\"", p->raw ? "raw" : "json");
	end(p);
}

void say_flow_open(struct processor *p, struct processor_flow *pf, uint64_t id)
{
	const struct weir_info *i = p->host->info(pf->f);

	begin(p, id, "flow_open");
	add(p, ",\"flow\":%llu,\"proto\":\"%s\",\"inbound\":%s", (unsigned long long)pf->id,
	    proto_text(i->proto), i->inbound ? "true" : "false");
	add_endpoint(p, "app", &i->app);
	add_endpoint(p, "net", &i->net);
	add_text(p, "host", i->host);
	add_text(p, "args", i->args);
	add_text(p, "rule", i->rule);
	add_owner(p, i->owner);
	end(p);
	pf->told = p->connection;
}

void say_payload(struct processor *p, const struct request *r, const uint8_t *data, size_t len)
{
	bool stream = r->kind == REQUEST_PAYLOAD;

	begin(p, r->id, stream ? "payload" : "datagram");
	add(p, ",\"flow\":%llu,\"dir\":\"%s\"", (unsigned long long)r->flow->id, dir_text(r->dir));
	if (stream)
		add(p, ",\"last\":%s", r->asked_last ? "true" : "false");
	add(p, ",\"len\":%zu", len);
	if (p->raw) {
		end(p);
		bytes_add(&p->out, data, len);
		return;
	}
	add(p, ",\"data\":");
	json_escape((const char *)data, len, JSON_BYTES, put, &p->out);
	end(p);
}

void say_half_close(struct processor *p, uint64_t flow, enum weir_dir dir)
{
	begin(p, 0, "half_close");
	add(p, ",\"flow\":%llu,\"dir\":\"%s\"", (unsigned long long)flow, dir_text(dir));
	end(p);
}

void say_name(struct processor *p, uint64_t flow, const char *field, const char *value)
{
	begin(p, 0, "name_learned");
	add(p, ",\"flow\":%llu", (unsigned long long)flow);
	add_text(p, "field", field);
	add_text(p, "value", value);
	end(p);
}

void say_flow_close(struct processor *p, uint64_t flow, const struct weir_info *info)
{
	begin(p, 0, "flow_close");
	add(p, ",\"flow\":%llu,\"bytes_up\":%llu,\"bytes_down\":%llu", (unsigned long long)flow,
	    (unsigned long long)info->bytes_up, (unsigned long long)info->bytes_down);
	add_text(p, "reason", info->reason);
	end(p);
}
