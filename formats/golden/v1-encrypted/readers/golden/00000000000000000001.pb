age-encryption.org/v1
-> X25519 0ArBqF8jKOsjMO9iq1hGzUgxyozVF06P2dwRVYN9fQM
1tx+WetVEuuQ/Bp9PuPMy3Fg4WnNt4jm7AYAg1Z533Y
-> X25519 QQCbdjMJ7tr1EZyRpuPwoQigi8JbLWnZSxiQ6jVUDEk
LR1HgI3pZGdW45O0+TB31goLUYmO5mKQUDsA/hbRdV4
-> tapedeck
cmVhZGVycy9nb2xkZW4vMDAwMDAwMDAwMDAwMDAwMDAwMDEucGI
-> `=?{`-grease -=#<b8jl ;J^
VzRxG3hwHh3cmsmt2QKscN9WJLod5ymcxQORoQQExoGJyBIGfNv70g85rr/nEIB3
jmqwE0S2s1VDfDS5GdL8tOO3VY7MShwIAC/vOm0fI3fgi0jDI5mDQBzuclYVOs1h
Tb4
--- A0T0GEoWbeJBna2lbvwkscalCYEG7cBnBkYKFGSpB7o
Z—`¶³ÿÎs¦ÈÉx¶å	4ÇOôleÅ1S\¹­ùmº›ç—JÀ³˜-”Ï%<çô‰,¥^nı<îrï§ïJEœ¬ĞH<ös¶è¥)‚RYĞ?QÖ•{f÷hæÿ•ë\KÁ*ƒ òOÚNÁâ¨¥—,</[,XiÍ•°ÇÊxÌ÷P@F:ˆGòf±íÃ ®–†ßT\^(ü|­+îŞ‡±,aÕx K¦§01