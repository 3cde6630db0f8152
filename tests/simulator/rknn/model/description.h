/* What the files that read a model's description share. */
#ifndef RKNN_SIMULATOR_DESCRIPTION_H
#define RKNN_SIMULATOR_DESCRIPTION_H

#include "rknn/rknn_simulator.h"

bool parse_whole(const char *text, long long lowest, long long highest, long long *number);
bool parse_real(const char *text, double *number);
bool parse_bytes(const char *text, uint32_t *bytes);
bool copy_name(char *target, const char *name);
/* Splits "key=value" off line; NULL at its end or, with *valid false, at a word that has no '='. */
char *next_pair(char **line, char **value, bool *valid);
/* A longer copy of an array, with zeros in its new last element; the old one is freed. */
void *grow(void *items, uint32_t count, size_t size);

bool parse_tensor(char **line, TensorModel **tensors, uint32_t *count, bool is_input);
bool parse_operator(char **line, Model *model);
/* Once all tensors are known, since an operator may stand before them. */
bool resolve_operator(const Model *model, OperatorModel *operator_model);

#endif
