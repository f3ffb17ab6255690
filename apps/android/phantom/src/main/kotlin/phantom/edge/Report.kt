package phantom.edge

/** One comparison of a self-test, in words. */
public class Finding(
    public val name: String,
    public val expected: String,
    public val found: String,
    public val passed: Boolean,
) {
    override fun toString(): String = "${if (passed) "ok" else "FAILED"} $name: expected $expected, found $found"
}

/**
 * Result of a self-test: what the bundle computes on this device, against its checkpoint's own numbers.
 *
 * @property findings All comparisons.
 * @property leftOut Names of cases that do not fit into the bundle's cache.
 */
public class Report(public val findings: List<Finding>, public val leftOut: List<String>) {
    /** True where nothing differs. */
    public val passed: Boolean get() = findings.all { it.passed }

    /** The comparisons that failed. */
    public val faults: List<Finding> get() = findings.filterNot { it.passed }
}
