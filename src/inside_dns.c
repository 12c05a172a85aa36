/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 *   resolv.conf names             inside
 *   127.0.0.53, ::1, own address  the same address is bound
 *   10.0.0.1, 2001:db8::53        nothing to do: the TUN leads there
 *   fe80::1%eth0                  an address of our own on lo is bound, and a copy of
 *                                 resolv.conf names it
 *
 * Addresses of our own are IPv6 ones as well, so that a look-up keeps its family all the
 * way: fd77:6569:7253::N, unique local ones of which the middle reads "weirS". They lie on
 * lo, so the kernel never sends anything for them by the TUN.
 *
 * The copy is a file that has lost its name, bind-mounted, read-only, over what
 * /etc/resolv.conf leads to. The kernel silently takes such a mount away when somebody
 * renames or removes the file below it, which is what the managers of resolv.conf do. So
 * each change on the host makes us look at what lies there, by the numbers of the file, and
 * mount again.
 *
 * What was bound stays bound: a program may still ask what it has read before.
 */
#include "inside_dns.h"

#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mount.h>
#include <sys/stat.h>

#include "netcfg.h"
#include "resolvwatch.h"

#include "base/util.h"

#define ALIAS_BASE "fd77:6569:7253::"

/** struct notes - one line for the user, of what may be several parts */
struct notes {
	char *text;
	size_t size;
};

__attribute__((format(printf, 2, 3))) static void note(struct notes *n, const char *fmt, ...)
{
	size_t len = strlen(n->text);
	va_list ap;

	if (len)
		len += (size_t)snprintf(n->text + len, n->size - len, "; ");
	if (len >= n->size)
		return;
	va_start(ap, fmt);
	vsnprintf(n->text + len, n->size - len, fmt, ap);
	va_end(ap);
}

/* --- addresses ------------------------------------------------------------------------- */

/** find_outside - the resolver that stands for @outside, or -1 */
static int find_outside(const struct inside_dns *d, const struct addr *outside)
{
	for (unsigned i = 0; i < d->n_bound; i++) {
		if (addr_equal(&d->bound[i].outside, outside))
			return (int)i;
	}
	return -1;
}

static int add_to_lo(const struct addr *a)
{
	const struct prefix p = {.addr = *a, .bits = 128};
	struct netcfg *nc;
	int r = netcfg_open(&nc);

	if (!r)
		r = netcfg_address_add(nc, (int)if_nametoindex("lo"), &p, NULL);
	netcfg_close(nc);
	return r == -EEXIST ? 0 : r;
}

/** alias_make - an address of our own for the next resolver; 0 or -errno */
static int alias_make(const struct inside_dns *d, struct addr *a)
{
	addr_parse(ALIAS_BASE, a);
	a->b[15] = (uint8_t)(d->n_bound + 1);
	return add_to_lo(a);
}

/** bind_one - @inside stands for @outside from here on; 0 or -errno */
static int bind_one(struct inside_dns *d, const struct addr *inside, const struct addr *outside,
		    struct sandbox_dns *out)
{
	int r;

	if (d->n_bound == SANDBOX_DNS_MAX)
		return -ENOSPC;
	r = hostdns_bind(inside, &out->udp_fd, &out->tcp_fd);
	if (r)
		return r;
	out->addr = d->bound[d->n_bound].inside = *inside;
	out->outside = d->bound[d->n_bound].outside = *outside;
	d->n_bound++;
	return 0;
}

/** bind_local - resolvers on loopback; returns how many are new */
static unsigned bind_local(struct inside_dns *d, const struct hostdns_conf *conf,
			   struct sandbox_dns *out, struct notes *notes)
{
	struct hostdns local = conf->dns;
	char text[ADDR_STRLEN];
	unsigned n = 0;

	hostdns_local(&local, d->own, d->n_own);
	for (unsigned i = 0; i < local.n; i++) {
		int r;

		if (find_outside(d, &local.addr[i]) >= 0)
			continue;
		r = bind_one(d, &local.addr[i], &local.addr[i], &out[n]);
		if (r)
			note(notes, "resolver %s can't be relayed: %s",
			     addr_format(&local.addr[i], text), strerror(-r));
		else
			n++;
	}
	return n;
}

/** bind_zoned - link-local ones; @inside gets where each is; returns how many are new */
static unsigned bind_zoned(struct inside_dns *d, const struct hostdns *dns, struct addr *inside,
			   struct sandbox_dns *out, struct notes *notes)
{
	unsigned n = 0;

	for (unsigned i = 0; i < dns->n_zoned; i++) {
		int at = find_outside(d, &dns->zoned[i].addr), r;

		inside[i] = (struct addr){0};
		if (at >= 0) {
			inside[i] = d->bound[at].inside;
			continue;
		}
		r = alias_make(d, &inside[i]);
		if (!r)
			r = bind_one(d, &inside[i], &dns->zoned[i].addr, &out[n]);
		if (r) {
			inside[i] = (struct addr){0};
			note(notes, "resolver %s can't be relayed: %s", dns->zoned[i].word,
			     strerror(-r));
		} else {
			n++;
		}
	}
	return n;
}

/* --- the copy --------------------------------------------------------------------------- */

/** copy_lies_there - nobody has taken our mount away */
static bool copy_lies_there(const struct inside_dns *d)
{
	struct stat st;

	return d->mounted[0] && !stat(d->mounted, &st) && st.st_dev == d->dev &&
	       st.st_ino == d->ino;
}

static void copy_remove(struct inside_dns *d)
{
	if (copy_lies_there(d))
		umount2(d->mounted, MNT_DETACH | UMOUNT_NOFOLLOW);
	d->mounted[0] = '\0';
}

/** file_make - a file with @text that everybody may read, in @path; 0 or -errno */
static int file_make(char path[64], const char *text, size_t len, struct stat *st)
{
	static const char *const dirs[] = {"/dev/shm", "/run", "/tmp"};
	int fd = -1, r = -EROFS;

	for (size_t i = 0; i < ARRAY_SIZE(dirs) && fd < 0; i++) {
		snprintf(path, 64, "%s/weir-resolv.XXXXXX", dirs[i]);
		fd = mkostemp(path, O_CLOEXEC);
		if (fd < 0)
			r = -errno;
	}
	if (fd < 0)
		return r;
	r = write(fd, text, len) == (ssize_t)len && !fchmod(fd, 0444) && !fstat(fd, st) ? 0 : -EIO;
	close(fd);
	if (r)
		unlink(path);
	return r;
}

/** copy_mount - put @text over the file that programs see as resolv.conf; 0 or -errno */
static int copy_mount(struct inside_dns *d, const char *text, size_t len)
{
	/* Flags that the file's own place may have, and that a user namespace can't take away. */
	const unsigned long flags =
		MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
	char target[PATH_MAX], path[64];
	struct stat st = {0};
	int r;

	if (!realpath(RESOLV_CONF, target))
		return -errno;
	r = file_make(path, text, len, &st);
	if (r)
		return r;
	if (mount(path, target, NULL, MS_BIND, NULL))
		r = -errno;
	else
		mount(NULL, target, NULL, flags, NULL);
	unlink(path);
	if (r)
		return r;
	str_copy(d->mounted, sizeof(d->mounted), target);
	d->dev = st.st_dev;
	d->ino = st.st_ino;
	memcpy(d->copy, text, len);
	d->copy_len = len;
	return 0;
}

/** leads_there - /etc/resolv.conf still is the file that the copy lies over */
static bool leads_there(const struct inside_dns *d)
{
	char target[PATH_MAX];

	return realpath(RESOLV_CONF, target) && !strcmp(target, d->mounted);
}

/** copy_show - programs read @conf with @inside in place of link-local resolvers */
static void copy_show(struct inside_dns *d, const struct hostdns_conf *conf,
		      const struct addr *inside, struct notes *notes)
{
	char text[HOSTDNS_TEXT_MAX];
	size_t len = hostdns_rewrite(conf, inside, text, sizeof(text));
	int r;

	if (copy_lies_there(d) && leads_there(d) && len == d->copy_len &&
	    !memcmp(text, d->copy, len))
		return;
	copy_remove(d);
	r = copy_mount(d, text, len);
	if (r)
		note(notes, "no copy of %s inside, so its link-local resolvers can't be asked: %s",
		     RESOLV_CONF, strerror(-r));
}

unsigned inside_dns_apply(struct inside_dns *d, const struct hostdns_conf *conf,
			  struct sandbox_dns *out, char *text, size_t size)
{
	struct notes notes = {text, size};
	struct addr inside[HOSTDNS_MAX];
	unsigned n;

	text[0] = '\0';
	n = bind_local(d, conf, out, &notes);
	if (conf->dns.lost)
		note(&notes, "%s names resolvers on links that are not there", RESOLV_CONF);
	if (!conf->dns.n_zoned) {
		copy_remove(d);
	} else if (d->mounts) {
		n += bind_zoned(d, &conf->dns, inside, out + n, &notes);
		copy_show(d, conf, inside, &notes);
	} else {
		note(&notes,
		     "%s names a link-local resolver, which can't be asked inside: there is no "
		     "mount namespace for a copy that names another address",
		     RESOLV_CONF);
	}
	return n;
}
