// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * `reboot "0 tryboot"` on a Raspberry Pi with a kernel of Debian's: tells the firmware, just before the restart, that the next
 * boot is a trial. The vendor's kernel does this itself; the one of kernel.org lets the word pass.
 *
 * The flag is the firmware's: it holds for one boot, whatever comes of it. Loaded by udev where the device tree has the firmware's
 * node, so never on another machine.
 */

#include <linux/err.h>
#include <linux/module.h>
#include <linux/of.h>
#include <linux/reboot.h>
#include <linux/string.h>
#include <soc/bcm2835/raspberrypi-firmware.h>

/* A property of the firmware's mailbox: one word of flags for the next boot. */
#define TAG_SET_REBOOT_FLAGS 0x00038064
#define FLAG_TRYBOOT 1

static struct rpi_firmware *firmware;

static int kvmd_tryboot_at_reboot(struct notifier_block *block, unsigned long action, void *command)
{
	u32 flags = FLAG_TRYBOOT;
	int err;

	/* The partition's number comes first, 0 for the usual one: "0 tryboot". */
	if (action != SYS_RESTART || !command || !strstr(command, " tryboot"))
		return NOTIFY_DONE;
	err = rpi_firmware_property(firmware, TAG_SET_REBOOT_FLAGS, &flags, sizeof(flags));
	if (err)
		pr_emerg("kvmd_tryboot: the firmware does not take the flag (%d): the next boot is none of a trial\n", err);
	else
		pr_info("kvmd_tryboot: the next boot is a trial\n");
	return NOTIFY_DONE;
}

static struct notifier_block kvmd_tryboot_notifier = {
	.notifier_call = kvmd_tryboot_at_reboot,
};

static int __init kvmd_tryboot_init(void)
{
	struct device_node *node = rpi_firmware_find_node();
	int err;

	if (!node)
		return -ENODEV;
	firmware = rpi_firmware_get(node);
	of_node_put(node);
	if (!firmware)
		return -ENODEV;
	err = register_reboot_notifier(&kvmd_tryboot_notifier);
	if (err)
		rpi_firmware_put(firmware);
	return err;
}

static void __exit kvmd_tryboot_exit(void)
{
	unregister_reboot_notifier(&kvmd_tryboot_notifier);
	rpi_firmware_put(firmware);
}

module_init(kvmd_tryboot_init);
module_exit(kvmd_tryboot_exit);

/* For udev alone: the node's driver is the kernel's own. */
static const struct of_device_id kvmd_tryboot_of_match[] = {
	{ .compatible = "raspberrypi,bcm2835-firmware" },
	{}
};
MODULE_DEVICE_TABLE(of, kvmd_tryboot_of_match);
MODULE_DESCRIPTION("The trial boot of a Raspberry Pi");
MODULE_LICENSE("Dual MIT/GPL");
