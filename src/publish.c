/* SPDX-License-Identifier: MIT */
#include "publish.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "owner.h"
#include "owner_sockdiag.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"

#define LOOK_NS	     (100 * NSEC_PER_MSEC)
#define PORTS_MAX    1024  /* published at one time */
#define BACKLOG	     4096  /* the host's net.core.somaxconn has the last word */
#define EPHEMERAL_LO 32768 /* what a new namespace hands out by itself (ip_local_port_range) */
#define EPHEMERAL_HI 60999

/**
 * struct port - one socket outside
 * @follows: made by "auto": goes with what it follows
 * @seen: somebody listens on it inside
 * @now: the same, in the look that is under way
 */
struct port {
	struct listener l;
	int fd; /* owned; -1: it could not be bound (said) */
	bool follows, seen, now;
};

struct publish {
	struct port *ports; /* owned */
	unsigned n, room;
	bool follow, given, full_said, stopped;
	struct addr in4, in6; /* where to, inside; unspecified: the family is absent */
	uint32_t next_id;
	uint64_t next_look;
	struct publish_ops ops;
};

/* --- sockets ------------------------------------------------------------------------ */

/** bind_at - a socket that listens (or is bound, for UDP); the fd or -errno */
static int bind_at(const struct addrport *at, bool udp)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(at, &ss);
	int one = 1, rc = 0;
	int fd = socket(ss.ss_family,
			(udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	/* The other family has a socket of its own; what is in TIME_WAIT does not matter. */
	if (ss.ss_family == AF_INET6)
		rc = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (!rc && !udp)
		rc = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (!rc)
		rc = bind(fd, (struct sockaddr *)&ss, len);
	if (!rc && !udp)
		rc = listen(fd, BACKLOG);
	if (!rc)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

static const char *proto_text(const struct listener *l)
{
	return l->proto == IPPROTO_UDP ? "/udp" : "";
}

static struct port *port_new(struct publish *p)
{
	unsigned room = p->room ? 2 * p->room : 16;
	struct port *more;

	if (p->n == PORTS_MAX)
		return NULL;
	if (p->n == p->room) {
		more = realloc(p->ports, room * sizeof(*more));
		if (!more)
			return NULL;
		p->ports = more;
		p->room = room;
	}
	return &p->ports[p->n++];
}

/** port_add - bind @host for @inner; 0 or -errno; a port that is followed is kept all the same */
static int port_add(struct publish *p, const struct addrport *host, uint16_t inner, bool udp,
		    bool follows)
{
	struct port *port = port_new(p);
	int rc = 0;

	if (!port)
		return -ENOBUFS;
	*port = (struct port){
		.l = {.id = ++p->next_id,
		      .proto = udp ? IPPROTO_UDP : IPPROTO_TCP,
		      .host = *host,
		      .app = {addr_is_v4(&host->addr) ? p->in4 : p->in6, inner}},
		.follows = follows,
		.now = true,
	};
	port->fd = bind_at(host, udp);
	if (port->fd < 0) {
		rc = port->fd;
		port->fd = -1;
	} else if (p->ops.add) {
		p->ops.add(p->ops.ctx, &port->l, port->fd);
	}
	if (rc && !follows)
		p->n--;
	return rc;
}

static void port_remove(struct publish *p, unsigned i)
{
	struct port *port = &p->ports[i];

	if (port->fd >= 0 && p->ops.remove)
		p->ops.remove(p->ops.ctx, &port->l);
	close_fd(&port->fd);
	*port = p->ports[--p->n];
}

/* --- what --publish names --------------------------------------------------------------- */

static struct addr all_addresses(bool v4)
{
	static const uint8_t zero[16];

	return v4 ? addr_from_v4(zero) : addr_from_v6(zero);
}

static int fail(char *err, size_t errsize, const struct config_publish *c, const char *why)
{
	char addr[ADDRPORT_STRLEN];
	const struct addrport at = {c->addr, c->port};

	if (c->any)
		snprintf(addr, sizeof(addr), "%u", c->port);
	else
		addrport_format(&at, addr);
	snprintf(err, errsize, "--publish %s%s: %s", addr, c->udp ? "/udp" : "", why);
	return -EINVAL;
}

static int add_named(struct publish *p, const struct config_publish *c, char *err, size_t errsize)
{
	bool done = false;

	for (int v4 = 1; v4 >= 0; v4--) {
		struct addrport at = {c->any ? all_addresses(v4) : c->addr, c->port};
		int rc;

		if (!c->any && addr_is_v4(&c->addr) != v4)
			continue;
		if (addr_is_unspecified(v4 ? &p->in4 : &p->in6)) {
			if (!c->any)
				return fail(err, errsize, c, "this family is absent inside");
			continue;
		}
		rc = port_add(p, &at, c->inner, c->udp, false);
		if (rc)
			return fail(err, errsize, c,
				    rc == -EACCES
					    ? "permission denied (ports below "
					      "net.ipv4.ip_unprivileged_port_start are root's)"
					    : strerror(-rc));
		done = true;
	}
	return done ? 0 : fail(err, errsize, c, "no address inside");
}

int publish_new(const struct config *cfg, const struct sandbox *s, struct publish **out, char *err,
		size_t errsize)
{
	struct publish *p;
	int rc = 0;

	*out = NULL;
	if (!cfg->n_publish && !cfg->publish_auto)
		return 0;
	p = calloc(1, sizeof(*p));
	if (!p) {
		snprintf(err, errsize, "out of memory");
		return -ENOMEM;
	}
	p->follow = cfg->publish_auto;
	for (unsigned i = s->n_inside; i-- > 0;)
		*(addr_is_v4(&s->inside[i]) ? &p->in4 : &p->in6) = s->inside[i];
	for (unsigned i = 0; i < cfg->n_publish && !rc; i++)
		rc = add_named(p, &cfg->publish[i], err, errsize);
	if (rc) {
		publish_free(p);
		return rc;
	}
	*out = p;
	return 0;
}

int publish_give(struct publish **p, const struct listener *l, int fd)
{
	struct port *port;

	if (!*p)
		*p = calloc(1, sizeof(**p));
	port = *p ? port_new(*p) : NULL;
	if (!port) {
		close(fd);
		return -ENOMEM;
	}
	(*p)->given = true;
	*port = (struct port){.l = *l, .fd = fd};
	if ((*p)->ops.add)
		(*p)->ops.add((*p)->ops.ctx, &port->l, fd);
	return 0;
}

void publish_peer_ports(struct publish *p, uint16_t lo, uint16_t hi)
{
	for (unsigned i = 0; p && i < p->n; i++) {
		struct listener *l = &p->ports[i].l;

		if (l->peer_lo == lo && l->peer_hi == hi)
			continue;
		if (p->ops.remove)
			p->ops.remove(p->ops.ctx, l);
		l->peer_lo = lo;
		l->peer_hi = hi;
		if (p->ops.add)
			p->ops.add(p->ops.ctx, l, p->ports[i].fd);
	}
}

void publish_free(struct publish *p)
{
	if (!p)
		return;
	publish_stop(p);
	free(p->ports);
	free(p);
}

void publish_stop(struct publish *p)
{
	if (!p)
		return;
	p->stopped = true;
	while (p->n)
		port_remove(p, p->n - 1);
}

void publish_start(struct publish *p, const struct publish_ops *ops)
{
	if (!p)
		return;
	p->ops = *ops;
	publish_again(p);
}

void publish_again(struct publish *p)
{
	for (unsigned i = 0; p && i < p->n; i++)
		if (p->ports[i].fd >= 0 && p->ops.add)
			p->ops.add(p->ops.ctx, &p->ports[i].l, p->ports[i].fd);
}

/* --- what is listened on inside ------------------------------------------------------------- */

/** reaches - a peer taken to @app arrives at the socket @s */
static bool reaches(const struct addrport *app, uint8_t proto, const struct owner_listener *s)
{
	bool v4 = addr_is_v4(&app->addr);

	if (s->proto != proto || s->at.port != app->port)
		return false;
	if (!addr_is_unspecified(&s->at.addr))
		return addr_equal(&s->at.addr, &app->addr);
	return addr_is_v4(&s->at.addr) == v4 || (v4 && !s->v6only);
}

/** say_listening - "nginx(123) listens on port 80, published as 0.0.0.0:8080" */
static void say_listening(const struct port *port, struct owner_db *db)
{
	const struct owner_query q = {
		.proto = port->l.proto, .listens = true, .app = port->l.app, .net = port->l.app};
	struct owner_answer a = {.owner = 0};
	const struct owner *o;
	char text[ADDRPORT_STRLEN], comm[sizeof(o->comm)] = "a program";
	int pid = 0;

	owner_db_lookup(db, &q, &a, 1);
	o = a.owner ? owner_db_get(db, a.owner) : NULL;
	if (o) {
		str_copy(comm, sizeof(comm), o->comm);
		pid = o->pid;
	}
	for (char *c = comm; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	log_note("%s(%d) listens on port %u%s, published as %s", comm, pid, port->l.app.port,
		 proto_text(&port->l), addrport_format(&port->l.host, text));
}

/** mark - @s is listened on; true when that is a port that is published already */
static bool mark(struct publish *p, const struct owner_listener *s, bool v4)
{
	bool any = false;

	for (unsigned i = 0; i < p->n; i++) {
		struct port *port = &p->ports[i];

		if (addr_is_v4(&port->l.app.addr) != v4 || !reaches(&port->l.app, port->l.proto, s))
			continue;
		port->now = any = true;
	}
	return any;
}

/** follow - publish @s for one family under its own number */
static void follow(struct publish *p, const struct owner_listener *s, bool v4)
{
	struct addrport at = {all_addresses(v4), s->at.port},
			app = {v4 ? p->in4 : p->in6, s->at.port};
	bool udp = s->proto == IPPROTO_UDP;
	int rc;

	if (addr_is_unspecified(&app.addr) || !reaches(&app, s->proto, s) || mark(p, s, v4))
		return;
	rc = port_add(p, &at, s->at.port, udp, true);
	if (rc == -ENOBUFS && !p->full_said) {
		p->full_said = true;
		log_note("more than %u ports can't be published", PORTS_MAX);
	} else if (rc && rc != -ENOBUFS) {
		log_note("port %u%s can't be published: %s", s->at.port, udp ? "/udp" : "",
			 strerror(-rc));
	}
}

/** retry - a port that was taken may be free by now */
static void retry(struct publish *p, struct port *port)
{
	int fd = bind_at(&port->l.host, port->l.proto == IPPROTO_UDP);

	if (fd < 0)
		return;
	port->fd = fd;
	if (p->ops.add)
		p->ops.add(p->ops.ctx, &port->l, fd);
}

static void take_listener(void *ctx, const struct owner_listener *s)
{
	struct publish *p = ctx;
	bool ephemeral = s->at.port >= EPHEMERAL_LO && s->at.port <= EPHEMERAL_HI;

	if (p->follow && !(s->proto == IPPROTO_UDP && ephemeral)) {
		follow(p, s, true);
		follow(p, s, false);
	} else {
		mark(p, s, true);
		mark(p, s, false);
	}
}

/** settle - what the look has shown: programs that began to listen, and those that stopped */
static void settle(struct publish *p, struct owner_db *db)
{
	for (unsigned i = p->n; i-- > 0;) {
		struct port *port = &p->ports[i];

		if (!port->now && port->follows) {
			port_remove(p, i);
			continue;
		}
		if (port->now && port->fd < 0)
			retry(p, port);
		if (port->now && !port->seen && port->fd >= 0)
			say_listening(port, db);
		port->seen = port->now && port->fd >= 0;
	}
}

uint64_t publish_poll(struct publish *p, struct owner_db *db, int diag_fd, uint64_t now)
{
	if (!p || p->stopped || p->given)
		return 0;
	if (now < p->next_look)
		return p->next_look;
	for (unsigned i = 0; i < p->n; i++)
		p->ports[i].now = false;
	/* A look that fails shows nothing: then nothing is taken to be gone. */
	if (!owner_sockdiag_listeners(diag_fd, take_listener, p))
		settle(p, db);
	p->next_look = now + LOOK_NS;
	return p->next_look;
}
