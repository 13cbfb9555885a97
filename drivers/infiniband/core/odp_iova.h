/* SPDX-License-Identifier: GPL-2.0 */
#ifndef ODP_IOVA_H
#define ODP_IOVA_H

#ifdef CONFIG_INFINIBAND_ON_DEMAND_PAGING
int ib_odp_init(void);
void ib_odp_cleanup(void);
#else
static inline int ib_odp_init(void) { return 0; }
static inline void ib_odp_cleanup(void) {}
#endif

#endif /* ODP_IOVA_H */
