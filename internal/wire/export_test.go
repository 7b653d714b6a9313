package wire

// SetLimit changes how many bytes one reply may have.
func (d *Decoder) SetLimit(bytes int64) { d.limit = bytes }

// ElemSize is how many bytes an element of a list counts for.
const ElemSize = elemSize
