age-encryption.org/v1
-> X25519 nnZf4yT6YSxMbDe2xQLHWKXS9hDFYcQ9Uv3CV+nYyxk
Ug9xezhghywVqkzeULF2koneFLPVnuOQvhG/FRSTar8
-> X25519 dWBa1izIiGiCPE6gfqZzQUO7VD4Krw9V36AZ6xBQIXc
QhkDH7FeJCX7EM96Mqo6w6JdVxaweaGtb3OYxPD/23U
-> tapedeck
cmVhZGVycy9nb2xkZW4vMDAwMDAwMDAwMDAwMDAwMDAwMDIucGI
-> i*;dAi&-grease K;mCF +JN
u02tWdPyrd0SnGiPFi3rDbURAkcC7YRA1PR7haK4et+iHM+ub4bEwNYqoODbxgeB
J56FLppDDo7Wl1Msagkb1T1t/SVt
--- eAUvUdlpNrN7DhrViwDIhVOVkuNZN8SYJBIXpIvxC7g
EÀ=áz.j%^¿¤Æu¯UÃ4|!&tÍëãb?ˆ4:ÖÝ¨…pfâj&ì©oúrôB¬çšTÛ«våQ™ú‘,Š¶¾ÔÇíé%ºØjd°å0¥-s»÷yÃÏ+SõŸ';®Ï·ë.èO©µÒÅFdº^å©—j)á„Z;J¶¹iñÀH]ƒØ–Ôs—tï §y8©çãú…ÆÞ¶Ó$×ßú%xÍ;(fQe?¦š€ÙrÞ²(b§*