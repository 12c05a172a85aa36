/* SPDX-License-Identifier: MIT */
/* ask: the commands that ask a running weir something: flows, hooks, rules, events, decide, kill,
 * reload.
 */
#ifndef WEIR_ASK_H
#define WEIR_ASK_H

int ask_flows(int argc, char **argv);
int ask_hooks(int argc, char **argv);
int ask_rules(int argc, char **argv);
int ask_events(int argc, char **argv);
int ask_decide(int argc, char **argv);
int ask_kill(int argc, char **argv);
int ask_reload(int argc, char **argv);

#endif
