// SPDX-License-Identifier: GPL-2.0
/*
 * What only tests do to the device, by files in <debugfs>/edu_0.
 *
 * "stale" is for accesses to memory that is no MR any more: the proof that they
 * are refused. An address of the memory taken from the device last is kept: by
 * deregistration, as the process lost a page, or by the exporter of a dma-buf.
 * Root may have the device read from it or write to it once more, by writing
 * "read" or "write" to the file. The access must fault in the IOMMU.
 *
 * It is refused wherever it could reach memory though deregistration did
 * nothing wrong:
 *
 *  - without an IOMMU that translates, as the address is that of the memory;
 *  - while the device has any MR, as the address may be used again;
 *  - while the address is mapped, whoever did that.
 *
 * Where the kernel flushes the IOTLB late, it is flushed before. What is left is
 * that somebody registers an MR just then and gets the address, so root has to
 * have the device alone; and a kernel that does not flush the IOTLB, which is what
 * this is to find: then eight bytes of the device's buffer land in memory that
 * somebody else may have by now.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/iommu.h>
#include <linux/string.h>

#include "edu.h"

#define EDU_STALE_BYTES	8

static int edu_stale_allowed(struct edu_dev *edu)
{
	struct iommu_domain *domain;

	domain = iommu_get_domain_for_dev(&edu->pdev->dev);
	if (!domain || !iommu_is_dma_domain(domain))
		return -EOPNOTSUPP;
	if (!edu->stale)
		return -ENODATA;
	if (!xa_empty(&edu->mrs))
		return -EBUSY;
	if (iommu_iova_to_phys(domain, edu->stale))
		return -EEXIST;
	if (domain->type == IOMMU_DOMAIN_DMA_FQ)
		iommu_flush_iotlb_all(domain);
	return 0;
}

static ssize_t edu_stale_write(struct file *file, const char __user *from,
			       size_t len, loff_t *pos)
{
	struct edu_dev *edu = file->private_data;
	enum edu_dir dir;
	char word[8] = "";
	int ret;

	if (simple_write_to_buffer(word, sizeof(word) - 1, pos, from, len) < 0)
		return -EFAULT;
	if (sysfs_streq(word, "read"))
		dir = EDU_READ;
	else if (sysfs_streq(word, "write"))
		dir = EDU_WRITE;
	else
		return -EINVAL;

	ret = mutex_lock_interruptible(&edu->lock);
	if (ret)
		return ret;
	ret = edu_stale_allowed(edu);
	if (!ret)
		ret = edu_dma(edu, dir, edu->stale, 0, EDU_STALE_BYTES);
	mutex_unlock(&edu->lock);
	return ret ?: len;
}

static const struct file_operations edu_stale_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = edu_stale_write,
};

/*
 * "untrusted" is whether the kernel trusts the function, or has the DMA API
 * bounce what shares an IOMMU page with other memory, as behind an external
 * port. An MR has to be unmapped the way it was mapped, so it is not changed
 * while there is one; root has the device alone here, too.
 */
static int edu_untrusted_get(void *data, u64 *value)
{
	struct edu_dev *edu = data;

	*value = edu->pdev->untrusted;
	return 0;
}

static int edu_untrusted_set(void *data, u64 value)
{
	struct edu_dev *edu = data;

	if (!xa_empty(&edu->mrs))
		return -EBUSY;
	edu->pdev->untrusted = !!value;
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(edu_untrusted_fops, edu_untrusted_get,
			 edu_untrusted_set, "%llu\n");

/**
 * edu_test_forget - remember an address that the device may no longer use
 * @edu: device
 * @addr: DMA address of memory that is being taken away
 *
 * Context: edu->lock is held.
 */
void edu_test_forget(struct edu_dev *edu, dma_addr_t addr)
{
	lockdep_assert_held(&edu->lock);
	edu->stale = ALIGN_DOWN(addr, EDU_STALE_BYTES);
}

/**
 * edu_test_init - make the files of a device
 * @edu: registered device
 */
void edu_test_init(struct edu_dev *edu)
{
	edu->debugfs = debugfs_create_dir(dev_name(&edu->ibdev.dev), NULL);
	debugfs_create_file("stale", 0200, edu->debugfs, edu, &edu_stale_fops);
	debugfs_create_file("untrusted", 0600, edu->debugfs, edu,
			    &edu_untrusted_fops);
}

/**
 * edu_test_exit - remove the files of a device
 * @edu: device
 *
 * Waits for those who use them.
 */
void edu_test_exit(struct edu_dev *edu)
{
	debugfs_remove_recursive(edu->debugfs);
}
