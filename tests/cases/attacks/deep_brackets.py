# Nests more brackets than a compiler's stack holds.
# expect: syntax
x = @DEEP@
