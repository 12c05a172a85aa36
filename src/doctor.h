/* SPDX-License-Identifier: MIT */
/* doctor: what this machine lets weir do, found out by doing it. */
#ifndef WEIR_DOCTOR_H
#define WEIR_DOCTOR_H

/** doctor_run - one screen; 0 when `weir run` works for this user, else 1 */
int doctor_run(void);

#endif
