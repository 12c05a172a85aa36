/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "flowspec.h"
#include "policy.h"
#include "policy_host.h"

#include "base/log.h"

#define STATUS_WRONG 2

static int load(const char *path, struct policy **p)
{
	char err[1024];

	if (!policy_load(policy_host(), path, p, err, sizeof(err)))
		return 0;
	fprintf(stderr, "%s\n", err);
	return STATUS_WRONG;
}

static int explain_flow(const struct policy *p, const char *text)
{
	struct flowspec *f;
	char err[512];
	int rc = flowspec_new(text, policy_host(), &f, err, sizeof(err));

	if (rc) {
		log_error("%s", rc == -EINVAL ? err : strerror(-rc));
		return STATUS_WRONG;
	}
	policy_explain(p, flowspec_get, f, stdout);
	flowspec_free(f);
	return 0;
}

int check_run(int argc, char **argv)
{
	static const char option[] = "--flow";
	const char *flow = NULL, *path = NULL;
	struct policy *p;
	int rc;

	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], option, strlen(option)) && flow)
			die(STATUS_WRONG, "--flow is given twice: put all fields into one");
		if (!strcmp(argv[i], option) && i + 1 < argc)
			flow = argv[++i];
		else if (!strncmp(argv[i], option, strlen(option)) &&
			 argv[i][strlen(option)] == '=')
			flow = argv[i] + strlen(option) + 1;
		else if (argv[i][0] != '-' && !path)
			path = argv[i];
		else
			die(STATUS_WRONG,
			    "check takes --flow 'FIELD=VALUE...', if at all, and a FILE");
	}
	if (!path)
		die(STATUS_WRONG, "check needs the FILE of the rules");
	rc = load(path, &p);
	if (rc)
		return rc;
	if (flow)
		rc = explain_flow(p, flow);
	else
		policy_explain_rules(p, stdout);
	policy_free(p);
	if (fflush(stdout))
		die(1, "%s", strerror(errno));
	return rc;
}
