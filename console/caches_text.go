package console

// levelOf returns the mark of a verdict.
func levelOf(verdict string) string {
	switch verdict {
	case "hit":
		return "good"
	case "stale":
		return "warning"
	}
	return "none"
}

// titleOf says what a verdict means for a caller.
func titleOf(verdict string) string {
	switch verdict {
	case "hit":
		return "Hit: a read serves the stored value."
	case "stale":
		return "Stale: GetOrLoad serves the old value while one caller loads a new one. Get serves no value."
	case "negative":
		return "Negative: a read answers that the source has no value, without a load."
	}
	return "Miss: a read loads the value."
}

// reasonOf says why a read has its verdict. Unknown reasons are shown as they are.
func reasonOf(reason, detail string) string {
	text, known := map[string]string{
		"fresh":                                "The value is fresh.",
		"not found in the source":              "The last load found no value in the source.",
		"nothing is stored":                    "Redis has no value for this key. It was never loaded, it ended, or it was deleted.",
		"not an entry of this release":         "The stored data is not an entry of this release.",
		"an entry of another Version or Codec": "The stored value has another Options.Version or Codec than the reader.",
		"the cache was cleared":                "Clear ended all values of this cache.",
		"a tag was invalidated":                "A tag of this value was invalidated after the value was stored.",
		"Expire ended it":                      "Expire ended the freshness of this value.",
		"past its TTL":                         "The value is older than its TTL.",
	}[reason]
	if !known {
		text = printable(reason, maxShown)
	}
	if detail != "" {
		text += " (" + printable(detail, maxShown) + ")"
	}
	return text
}

// readerOf names the reader that an explanation is about.
func readerOf(reader string) string {
	switch reader {
	case "this process":
		return "the cache of this process"
	case "any":
		return "a service that wrote the newest value"
	}
	return printable(reader, maxShown)
}

func unlessAbsent(present bool, text string) string {
	if !present {
		return "nothing stored"
	}
	return text
}
