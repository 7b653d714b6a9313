package wire

import "strconv"

// AppendCommand appends a command as it goes over the wire: its name, its key unless that is empty, and its arguments.
func AppendCommand(b []byte, name, key string, args ...string) []byte {
	words := 1 + len(args)
	if key != "" {
		words++
	}
	b = appendWord(appendHead(b, words), name)
	if key != "" {
		b = appendWord(b, key)
	}
	for _, arg := range args {
		b = appendWord(b, arg)
	}
	return b
}

// AppendScript appends a run of a script: name is EVAL with the script's text, or EVALSHA with its digest.
func AppendScript(b []byte, name, script string, keys, args []string) []byte {
	b = appendHead(b, 3+len(keys)+len(args))
	b = appendWord(appendWord(b, name), script)

	var digits [20]byte
	b = appendWord(b, string(strconv.AppendInt(digits[:0], int64(len(keys)), 10)))
	for _, key := range keys {
		b = appendWord(b, key)
	}
	for _, arg := range args {
		b = appendWord(b, arg)
	}
	return b
}

// appendWord appends one argument as a bulk string.
func appendWord(b []byte, word string) []byte {
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(len(word)), 10)
	b = append(b, '\r', '\n')
	b = append(b, word...)
	return append(b, '\r', '\n')
}

func appendHead(b []byte, words int) []byte {
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(words), 10)
	return append(b, '\r', '\n')
}
