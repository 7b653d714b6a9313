package keys

import "strings"

// Slots is the number of slots of a cluster.
const Slots = 16384

// Slot returns the cluster slot of a key. It is the CRC16 (XMODEM) of the hash tag, or of the whole
// key if there is no hash tag, modulo 16384. See "Key distribution model" in the Redis cluster
// specification.
func Slot(key string) uint16 {
	if i := strings.IndexByte(key, '{'); i >= 0 {
		if n := strings.IndexByte(key[i+1:], '}'); n > 0 {
			key = key[i+1 : i+1+n]
		}
	}
	var crc uint16
	for i := range len(key) {
		crc = crc<<8 ^ crc16[byte(crc>>8)^key[i]]
	}
	return crc % Slots
}

var crc16 = func() (t [256]uint16) {
	for i := range t {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		t[i] = crc
	}
	return t
}()
