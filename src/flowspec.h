/* SPDX-License-Identifier: MIT */
/*
 * flowspec: a flow that somebody describes, so that rules can be tried on it.
 *
 *	uid=1000 dst=203.0.113.5:443 proto=tcp sni=example.org ancestor.exe=/bin/sh,/usr/sbin/cron
 *
 * Words are FIELD=VALUE with the fields and values of the filter language; a list has commas;
 *quotes go round a value with blanks in it. FIELD=- says that there is none. What is not mentioned
 *is not known yet. For convenience:
 *
 *	dst=IP:PORT, src=IP:PORT	dst.ip, dst.port ...; the port may be left out
 *	user, uid			one of them is enough
 *	ip.version			is that of dst.ip or src.ip
 *	host				is http.host, or sni, or dns.name, when one of them is given
 *	dir				is out
 *	bytes.up, bytes.down, duration	are 0
 */
#ifndef WEIR_FLOWSPEC_H
#define WEIR_FLOWSPEC_H

#include "expr.h"
#include "policy.h"

#define FLOWSPEC_LIST_MAX 16 /* elements of a list */

struct flowspec;

/** flowspec_new - -EINVAL with one line in @err, or -ENOMEM */
int flowspec_new(const char *text, const struct policy_source *names, struct flowspec **out,
		 char *err, size_t errsize);
void flowspec_free(struct flowspec *f);
/** flowspec_get - expr_get_fn of a struct flowspec */
enum expr_known flowspec_get(const void *subject, enum expr_field field, unsigned i,
			     struct expr_value *out);

#endif
